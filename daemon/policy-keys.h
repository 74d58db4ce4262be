/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The keys that configuration files have: where each one goes in the Policy, and how its value is read. */

#include "policy.h"

/* The section of rules is followed by the rule's name. */
#define RULE_SECTION "Rule"

/* Reads a value into its target and releases what was there before. Returns 0; -EINVAL with what is wrong, which
 * quotes the value, or -ENOMEM, and leaves the target alone. */
typedef int (*ValueParser)(const char *value, void *target, char **ret_problem);

typedef struct ConfigKey {
        const char *section, *name;
        ValueParser parse;
        size_t offset; /* of the target in Policy, or in Rule */
        size_t size;   /* of the target, which an empty value sets to its default; 0: the parser takes empty values */
} ConfigKey;

/* Finds a key of a section, or the first key of the section when name is NULL. Case does not matter. */
const ConfigKey *config_key_find(const char *section, const char *name);
