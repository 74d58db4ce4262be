/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* BPF objects pinned by name in a directory of a bpffs, so that they outlive the daemon. For the data paths only. */

#include "util.h"

/* "directory/name" on the heap; NULL when out of memory. */
char *pins_path(const char *directory, const char *name);
/* Makes the directory and its parent when missing. -EMEDIUMTYPE when the parent is not on a bpffs. */
int pins_make_directory(const char *parent, const char *directory);
/* Pins an object; one that is there already stays. */
int pins_add(const char *directory, const char *name, int fd);
/* A descriptor of a pinned object, which the caller closes, or a negative errno. */
int pins_open(const char *directory, const char *name);
void pins_remove(const char *directory, const char *name);
/* Removes a directory once it is empty. */
void pins_remove_directory(const char *directory);
/* The pins whose names begin so. The caller frees *ret with strv_free(). An absent directory has none. */
int pins_list(const char *directory, const char *prefix, char ***ret);

/* FNV-1a: tells builds apart by their programs. */
uint64_t pins_hash(const void *bytes, size_t size);

/* Writes 0 into the first 32 bits of the one element of a pinned map of control values: "on" in every version. Returns 0
 * also when nothing is there. */
int pins_turn_off(const char *directory, const char *control);
