/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Log to the journal with structured fields where stderr is the journal, else as plain lines to stderr. */

#include <syslog.h>

#include "util.h"

/* Finds out where stderr leads, and logs there. */
void log_open(void);
/* Messages above this syslog level are dropped; LOG_INFO at start. */
void log_set_max_level(int level);
int log_get_max_level(void);

typedef enum LogTarget {
        LOG_TARGET_CONSOLE, /* stderr */
        LOG_TARGET_JOURNAL,
        LOG_TARGET_NULL,
        LOG_TARGET_MAX,
} LogTarget;

const char *log_target_to_string(LogTarget target);
void log_set_target(LogTarget target);
LogTarget log_get_target(void);

/* Fields of an entry, for log_event(): LOG_FIELDS("MESHCUT_REASON", reason, "MESHCUT_RULE", name). At most
 * LOG_FIELDS_MAX; one whose value is NULL is left out. */
#define LOG_FIELDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define LOG_FIELDS_MAX 4

/* message_id: one of messages.h, or NULL. fields: LOG_FIELDS(), or NULL. */
void log_event(int level, const char *message_id, const char *const *fields, const char *format, ...) _printf_(4, 5);

#define log_full(level, ...) log_event(level, NULL, NULL, __VA_ARGS__)
#define log_debug(...) log_full(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_full(LOG_ERR, __VA_ARGS__)
