/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Writes JSON as it goes, without a tree in memory. The writer places the commas; nesting is the caller's. */

#include <systemd/sd-bus.h>

#include "util.h"

typedef struct Json {
        FILE *file;
        bool comma; /* a value stands before the next one */
} Json;

void json_open(Json *json, char bracket);
void json_close(Json *json, char bracket);
void json_key(Json *json, const char *key);
void json_string(Json *json, const char *value);
void json_bool(Json *json, bool value);
void json_unsigned(Json *json, uint64_t value);
void json_strv(Json *json, char *const *values);
int json_message(Json *json, sd_bus_message *message);
