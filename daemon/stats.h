/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Counters of the data path -> numbers with names, as interface.md and the bus have them. */

#include "meshcut-abi.h"
#include "util.h"

/* Adds the second set of counters to the first. */
void counters_add(struct meshcut_counters *sum, const struct meshcut_counters *more);

typedef int (*stats_each_t)(const char *name, uint64_t value, void *userdata);
/* Calls each for every counter, in a fixed order, until it returns a negative errno, which is returned. */
int stats_for_each(const struct meshcut_counters *counters, stats_each_t each, void *userdata);
/* The same for the veth shortcut. */
int stats_for_each_veth(const struct meshcut_veth_counters *counters, stats_each_t each, void *userdata);
