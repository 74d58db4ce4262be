/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where this kernel's conntrack keeps what the programs of the veth shortcut look at. conntrack can be a module, whose types
 * are described by a BTF of its own; that file is for everybody, while asking the kernel for it takes CAP_SYS_ADMIN. */

#include "meshcut-abi.h"
#include "util.h"

struct btf;

/* Sets the members ct_*; what is not found stays as it is. kernel: the types of the kernel itself, which take some ten
 * milliseconds to read; NULL: not read yet. */
void conntrack_find(const struct btf *kernel, struct meshcut_veth_control *control);
