/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The verbs of meshcutctl that show something. Each asks the daemon, prints, and returns 0 or a negative errno. */

#include "client.h"

typedef struct Options {
        bool json;
        bool watch;
        uint32_t limit;
        const char *output; /* NULL: standard output */
} Options;

int show_status(Client *client, const Options *options);
int show_statistics(Client *client, const Options *options);
int watch_statistics(Client *client, const Options *options);
int show_connections(Client *client, const Options *options);
int show_veths(Client *client, const Options *options);
int write_metrics(Client *client, const Options *options);

/* Asks the program rather than the service. Returns whether the configuration is valid, or a negative errno. */
int show_check(const char *meshcutd, const Options *options);
