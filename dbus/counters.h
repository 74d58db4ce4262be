/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The counters of a reply: a{st}. */

#include "client.h"

typedef struct Counter {
        const char *name;
        uint64_t value;
} Counter;

/* The names point into the message that they were read from. */
typedef struct Counters {
        Counter *items;
        size_t n;
} Counters;

void counters_done(Counters *counters);

/* Reads a{st}. On failure what was read so far is the caller's to free all the same. */
int counters_read(Counters *counters, sd_bus_message *message);
