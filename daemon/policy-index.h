/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* An index of one configuration file: which key stands in which section and line. iniparser does not tell. */

#include "policy-file.h"
#include "policy-keys.h"

/* A line that means something: the header of a rule, or a key. */
typedef struct IndexEntry {
        const ConfigKey *key; /* NULL: the header of a rule */
        char rule[POLICY_RULE_NAME_MAX + 1];
        unsigned line;
} IndexEntry;

typedef struct PolicyIndex {
        const char *path;
        PolicyMessages *messages;
        FILE *clean; /* the copy for iniparser */

        IndexEntry *entries;
        size_t n_entries, n_allocated;

        /* Where we are. The section is as config_keys spells it; NULL: its keys are not for us. */
        const char *section;
        char rule[POLICY_RULE_NAME_MAX + 1];
        bool in_section;
} PolicyIndex;

void policy_index_done(PolicyIndex *index);

/* Joins lines at backslashes as systemd does: a blank takes the backslash's place, and a comment neither goes on nor
 * interrupts. What is joined counts as a line, with the number of its first part.
 * Fills the index, and the clean copy with the lines that the index holds. Adds to the messages whatever is wrong with
 * the form of a line, is repeated or unknown. Returns 0 also then; -ENOMEM. */
int policy_index_read(PolicyIndex *index, FILE *file);

/* Appends to a list of messages. They go to the journal and to the bus, so what is no text in a file's name or a value
 * is replaced, and a file of nothing but problems does not fill the journal. Returns 0 or -ENOMEM. */
int policy_complain(char ***list, const char *format, ...) _printf_(2, 3);
