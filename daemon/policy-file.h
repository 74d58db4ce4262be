/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* INI files and their drop-ins -> Policy. The only user of iniparser. */

#include "policy.h"

/* What reading found, in the order found; each text is complete: "file:line: [Section] Key: what is wrong". */
typedef struct PolicyMessages {
        char **errors;
        char **warnings;
} PolicyMessages;

void policy_messages_done(PolicyMessages *messages);

/* Reads the configuration and makes a policy of it.
 *
 * config: the main file, whose drop-ins are config.d/<name>.conf; NULL: the system's, that is the first of
 * /etc/meshcut/, /run/meshcut/, CONFIGDIR that has meshcut.conf, with the meshcut.conf.d/ of the three merged as
 * systemd merges its own. No system file at all is an empty configuration; a missing config that was named is an error.
 *
 * Returns 0 and the policy; -EINVAL when messages->errors names what is wrong; -ENOMEM. Warnings may be there in
 * every case. messages must be zeroed or hold earlier messages, and is the caller's to free. */
int policy_load(const char *config, Policy **ret, PolicyMessages *messages);

/* The same for the system's files in other directories: dirs is NULL-terminated, the most important one first. */
int policy_load_system(const char *const dirs[], Policy **ret, PolicyMessages *messages);
