// SPDX-License-Identifier: GPL-2.0-or-later

#include <stdarg.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "log.h"

/* The only mutable state at file scope in the daemon: a log line must be possible from everywhere. */
static int max_level = LOG_INFO;
static LogTarget log_target = LOG_TARGET_CONSOLE;

/* systemd tells the device and inode of the stream that it gave us as stderr; they differ when it was redirected. */
void log_open(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        log_target = LOG_TARGET_CONSOLE;
        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return;
        if (fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode)
                log_target = LOG_TARGET_JOURNAL;
}

void log_set_max_level(int level) {
        max_level = level;
}

int log_get_max_level(void) {
        return max_level;
}

static const char *const target_names[] = {
        [LOG_TARGET_CONSOLE] = "console",
        [LOG_TARGET_JOURNAL] = "journal",
        [LOG_TARGET_NULL] = "null",
};
_Static_assert(ELEMENTSOF(target_names) == LOG_TARGET_MAX, "a name for every target");

const char *log_target_to_string(LogTarget target) {
        return target_names[target];
}

void log_set_target(LogTarget target) {
        log_target = target;
}

LogTarget log_get_target(void) {
        return log_target;
}

static int add_field(struct iovec *iov, size_t *n, const char *name, const char *value) {
        char *text;
        int length = asprintf(&text, "%s=%s", name, value);

        if (length < 0)
                return -ENOMEM;
        iov[(*n)++] = (struct iovec){ text, length };
        return 0;
}

void log_event(int level, const char *message_id, const char *const *fields, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        struct iovec iov[3 + LOG_FIELDS_MAX];
        char priority[4];
        size_t n = 0;
        va_list ap;
        int r;

        if (level > max_level || log_target == LOG_TARGET_NULL)
                return;
        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return;

        if (log_target == LOG_TARGET_CONSOLE) {
                fprintf(stderr, "%s\n", text);
                return;
        }
        snprintf(priority, sizeof(priority), "%d", level);
        r = add_field(iov, &n, "MESSAGE", text);
        if (r >= 0)
                r = add_field(iov, &n, "PRIORITY", priority);
        if (r >= 0 && message_id)
                r = add_field(iov, &n, "MESSAGE_ID", message_id);
        for (; r >= 0 && fields && fields[0] && n < ELEMENTSOF(iov); fields += 2)
                if (fields[1])
                        r = add_field(iov, &n, fields[0], fields[1]);
        if (r >= 0)
                (void) sd_journal_sendv(iov, n);
        while (n > 0)
                free(iov[--n].iov_base);
}
