/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Does an application see the same when its connection is shortcut? Runs each row twice, by plain TCP and by shortcut,
 * and compares what was seen, line by line.
 *
 *   conformance --cgroup DIR --plain ADDR --shortcut ADDR --blocking ADDR [ROW...]    runs rows; none: all of them
 *   conformance --readme     prints what is known to differ, as the table of README.md
 *
 * The three addresses are such that the service leaves connections to the first alone, shortcuts those to the second, and
 * to the third also those of blocking sockets (AllowBlocking=yes). Rows whose sockets block run on all three. Each run has
 * a process and a cgroup below DIR of its own, since the service learns from what a cgroup does. DBUS_SYSTEM_BUS_ADDRESS
 * is where the service is asked what it counted: a run whose bytes were not handed over says nothing about a shortcut.
 *
 * Prints a line for each row: "same", "differs", "left on TCP" or "not here". Exit status 1 if a row hangs, loses, reorders
 * or duplicates bytes, differs in another way than its table says, does not differ though the table says so, or went
 * another way than it should. All of that is told after the table.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "conformance.h"

#define ROW_SECONDS 40
#define TRANSCRIPT_MAX (64 << 10)
/* The first connections of a cgroup stay on TCP until it is known how it reads. These are they. */
#define PROBATION 4
#define COUNTERS_MAX 256
#define FINISHED "."

static const Row *const tables[] = {
        rows_read, rows_ready, rows_write, rows_splice, rows_close, rows_share, rows_uring,
};

/* What the service counted. */
typedef struct Counters {
        unsigned n;
        struct {
                char name[64];
                uint64_t value;
        } counters[COUNTERS_MAX];
} Counters;

typedef struct Run {
        char transcript[TRANSCRIPT_MAX];
        bool finished;
        const char *absent; /* there is no such thing in this kernel */
        const char *wrong;
        uint64_t paired, by_shortcut, by_tcp;
        char reason[64]; /* why it, or a message, was not handed over */
} Run;

static const char *arg_cgroup;
static Address plain, shortcut, shortcut_blocking;
static sd_bus *bus;
static char *failures;
static size_t failures_size;
static FILE *failed;

/* ---- what the service counted ---- */

static void counters_get(Counters *ret) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        const char *name;
        uint64_t value;
        int r;

        ret->n = 0;
        r = sd_bus_call_method(bus, "org.meshcut1", "/org/meshcut1", "org.meshcut1.Manager", "GetStatistics", &error,
                               &reply, "");
        if (r < 0)
                die("GetStatistics: %s", error.message ?: strerror(-r));
        if (sd_bus_message_enter_container(reply, 'a', "{st}") < 0)
                die("GetStatistics: not the type that was expected");
        while (sd_bus_message_read(reply, "{st}", &name, &value) > 0) {
                if (ret->n >= COUNTERS_MAX)
                        die("more than %d counters", COUNTERS_MAX);
                snprintf(ret->counters[ret->n].name, sizeof(ret->counters[0].name), "%s", name);
                ret->counters[ret->n++].value = value;
        }
        sd_bus_message_unref(reply);
}

static uint64_t counters_find(const Counters *c, const char *name) {
        for (unsigned i = 0; i < c->n; i++)
                if (strcmp(c->counters[i].name, name) == 0)
                        return c->counters[i].value;
        return 0;
}

/* The sum of what was added to counters of a kind, and the name of the one that grew most, probation aside. */
static uint64_t counters_added(const Counters *before, const Counters *after, const char *kind, char *ret_most,
                               size_t size) {
        uint64_t sum = 0, most = 0;

        for (unsigned i = 0; i < after->n; i++) {
                uint64_t added;

                if (strncmp(after->counters[i].name, kind, strlen(kind)) != 0)
                        continue;
                added = after->counters[i].value - counters_find(before, after->counters[i].name);
                sum += added;
                if (added > most && strcmp(after->counters[i].name + strlen(kind), "probation") != 0) {
                        most = added;
                        if (ret_most)
                                snprintf(ret_most, size, "%s", after->counters[i].name + strlen(kind));
                }
        }
        return sum;
}

/* ---- a run ---- */

static void cgroup_enter(const char *name) {
        char path[512];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", arg_cgroup, name);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                die("%s: %m", path);
        strncat(path, "/cgroup.procs", sizeof(path) - strlen(path) - 1);
        f = fopen(path, "we");
        if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f) != 0)
                die("%s: %m", path);
}

/* The process of a run. */
static void row_run(const Row *row, const char *cgroup, const Address *address, bool probation, int transcript) {
        Pair p;

        cgroup_enter(cgroup);
        transcript_to(transcript);
        pairs_from(address, false);
        for (unsigned i = 0; probation && i < PROBATION; i++) {
                pair_make(&p);
                pair_close(&p);
        }
        pairs_from(address, row->flags & ROW_BLOCKING);
        if (!(row->flags & ROW_ALONE))
                pair_make(&p);
        row->run(&p);
        if (!(row->flags & ROW_ALONE))
                saw("missing in the end: server %lld, client %lld", (long long) (p.client.sent - p.server.received),
                    (long long) (p.server.sent - p.client.received));
        saw(FINISHED);
}

static void run_parse(Run *run) {
        char *last = run->transcript, *line, *end;

        for (line = run->transcript; *line; line = end + 1) {
                end = strchrnul(line, '\n');
                if (strncmp(line, "! ", 2) == 0)
                        run->wrong = line + 2;
                else if (strncmp(line, "- ", 2) == 0)
                        run->absent = line + 2;
                last = line;
                if (!*end)
                        break;
        }
        if (strcmp(last, FINISHED "\n") == 0) {
                run->finished = true;
                *last = 0;
        } else if (run->wrong || run->absent)
                last[strcspn(last, "\n")] = 0;
}

static void run_make(Run *run, const Row *row, const char *suffix, const Address *address, bool probation) {
        static Counters before, after;
        uint64_t until = now_ns() + ROW_SECONDS * 1000000000ULL * patience();
        char cgroup[128];
        size_t have = 0;
        int out[2];
        pid_t child;

        *run = (Run) {};
        snprintf(cgroup, sizeof(cgroup), "%s%s", row->name, suffix);
        counters_get(&before);
        if (pipe2(out, O_CLOEXEC) < 0)
                die("pipe: %m");
        fflush(NULL);
        child = fork();
        if (child < 0)
                die("fork: %m");
        if (child == 0) {
                /* All that it starts goes with it. */
                setpgid(0, 0);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                close(out[0]);
                row_run(row, cgroup, address, probation, out[1]);
                _exit(EXIT_SUCCESS);
        }
        setpgid(child, child);
        close(out[1]);
        for (;;) {
                struct pollfd p = { .fd = out[0], .events = POLLIN };
                uint64_t now = now_ns();
                ssize_t n;

                if (now >= until)
                        break;
                if (poll(&p, 1, (until - now) / 1000000 + 1) <= 0)
                        continue;
                n = read(out[0], run->transcript + have, sizeof(run->transcript) - have - 1);
                if (n <= 0)
                        break;
                have += n;
        }
        kill(-child, SIGKILL);
        waitpid(child, NULL, 0);
        close(out[0]);

        counters_get(&after);
        run->paired = counters_added(&before, &after, "socket.connections_paired", NULL, 0);
        run->by_shortcut = counters_added(&before, &after, "socket.messages_shortcut", NULL, 0);
        run->by_tcp = counters_added(&before, &after, "socket.passed.", run->reason, sizeof(run->reason));
        if (run->by_shortcut == 0)
                counters_added(&before, &after, "socket.connections_left.", run->reason, sizeof(run->reason));
        run_parse(run);
}

/* ---- judging ---- */

static void fail(const char *row, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(const char *row, const char *format, ...) {
        va_list ap;

        fprintf(failed, "%s: ", row);
        va_start(ap, format);
        vfprintf(failed, format, ap);
        va_end(ap);
        fputc('\n', failed);
}

static void indented(const char *what, const char *text) {
        fprintf(failed, "    %s:\n", what);
        while (*text) {
                size_t n = strcspn(text, "\n");

                fprintf(failed, "        %.*s\n", (int) n, text);
                text += n + (text[n] != 0);
        }
}

static const char *last_line(const Run *run) {
        const char *ret = run->transcript;

        for (const char *p = ret; *p; p++)
                if (*p == '\n' && p[1])
                        ret = p + 1;
        return ret;
}

/* The first line of each that differs. */
static bool first_difference(const Run *a, const Run *b, char ret_a[static 256], char ret_b[static 256]) {
        const char *x = a->transcript, *y = b->transcript;

        while (*x || *y) {
                size_t n = strcspn(x, "\n"), m = strcspn(y, "\n");

                if (n != m || memcmp(x, y, n) != 0) {
                        snprintf(ret_a, 256, "%.*s", (int) n, x);
                        snprintf(ret_b, 256, "%.*s", (int) m, y);
                        return true;
                }
                x += n + (x[n] != 0);
                y += m + (y[m] != 0);
        }
        return false;
}

static bool run_is_sound(const Run *run, const Row *row, const char *name, const char *way) {
        if (run->wrong)
                fail(name, "%s: %s", way, run->wrong);
        else if (!run->finished && !run->absent)
                fail(name, "%s: it hangs, or ends in the middle", way);
        else
                return true;
        indented("what it saw", run->transcript);
        return false;
}

/* By which way the messages of a sound run went has to be right, too. */
static void check_way(const Run *run, const Row *row, const char *name) {
        if (run->by_tcp > 0 && !(row->flags & (ROW_TCP | ROW_MIXED)))
                fail(name, "%llu messages went by TCP (%s), which proves nothing", (unsigned long long) run->by_tcp,
                     run->reason);
        if (run->by_tcp == 0 && (row->flags & ROW_MIXED))
                fail(name, "no message went by TCP, though some have to");
}

/* Prints a line of the table. left: why it should be left on TCP, or NULL. */
static void row_judge(const Row *row, const char *name, const Run *by_tcp, const Run *by_shortcut, const char *left) {
        char tcp[256], other[256], way[64];

        snprintf(way, sizeof(way), "%llu/%llu", (unsigned long long) by_shortcut->by_shortcut,
                 (unsigned long long) by_shortcut->by_tcp);
        printf("%-36s ", name);
        if (!run_is_sound(by_tcp, row, name, "by TCP") || !run_is_sound(by_shortcut, row, name, "by shortcut")) {
                printf("WRONG\n");
                return;
        }
        if (by_tcp->paired > 0 || by_tcp->by_shortcut > 0)
                fail(name, "what should have been plain TCP was shortcut");
        if (by_tcp->absent) {
                printf("not here        %s\n", by_tcp->absent);
                return;
        }

        bool differs = first_difference(by_tcp, by_shortcut, tcp, other);
        if (by_shortcut->by_shortcut == 0) {
                printf("left on TCP     %s\n", by_shortcut->reason);
                if (!left || strcmp(left, by_shortcut->reason) != 0)
                        fail(name, "left on TCP: %s", by_shortcut->reason);
                else if (differs)
                        fail(name, "left on TCP, and yet: %s; by TCP: %s", other, tcp);
                return;
        }
        if (left)
                fail(name, "should have been left on TCP");
        check_way(by_shortcut, row, name);
        if (!differs) {
                printf("same            %s\n", way);
                if (row->expect == EXPECT_DIFFERS)
                        fail(name, "does not differ, though it is known to: %s", row->instead);
                return;
        }
        printf("differs         %-8s %s; by TCP: %s\n", way, other, tcp);
        if (!(row->flags & ROW_LOSES) && strcmp(last_line(by_tcp), last_line(by_shortcut)) != 0)
                fail(name, "not as many bytes came as by TCP: %s", last_line(by_shortcut));
        if (row->expect == EXPECT_SAME || !row->instead || strncmp(other, row->instead, strlen(row->instead)) != 0) {
                fail(name, "differs in a way that is not known: %s; by TCP: %s", other, tcp);
                indented("by TCP", by_tcp->transcript);
                indented("by shortcut", by_shortcut->transcript);
        }
}

static void row_try(const Row *row) {
        static Run by_tcp, by_shortcut;
        char name[128];

        run_make(&by_shortcut, row, "", &shortcut, true);
        run_make(&by_tcp, row, "-tcp", &plain, false);
        row_judge(row, row->name, &by_tcp, &by_shortcut, row->flags & ROW_BLOCKING ? "blocking" : NULL);
        if (row->flags & ROW_BLOCKING) {
                run_make(&by_shortcut, row, "-allowed", &shortcut_blocking, true);
                snprintf(name, sizeof(name), "%s, AllowBlocking=yes", row->name);
                row_judge(row, name, &by_tcp, &by_shortcut, NULL);
        }
        fflush(stdout);
}

/* ---- the table of README.md ---- */

static void readme(void) {
        unsigned same = 0;

        printf("| what | with the shortcut |\n|---|---|\n");
        for (unsigned t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
                for (const Row *row = tables[t]; row->name; row++) {
                        if (row->expect == EXPECT_SAME)
                                same++;
                        else
                                printf("| `%s`%s | %s |\n", row->name, row->flags & ROW_BLOCKING ? " *" : "", row->cause);
                }
        printf("\nThe same, whatever way the bytes took: %u other rows.\n", same);
}

static bool wanted(const char *name, char *const *names) {
        if (!*names)
                return true;
        for (; *names; names++)
                if (strcmp(*names, name) == 0)
                        return true;
        return false;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "cgroup",   required_argument, NULL, 'c' },
                { "plain",    required_argument, NULL, 'p' },
                { "shortcut", required_argument, NULL, 's' },
                { "blocking", required_argument, NULL, 'b' },
                { "readme",   no_argument,       NULL, 'r' },
                {}
        };
        unsigned tried = 0;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'c': arg_cgroup = optarg; break;
                case 'p': address_parse(optarg, &plain); break;
                case 's': address_parse(optarg, &shortcut); break;
                case 'b': address_parse(optarg, &shortcut_blocking); break;
                case 'r': readme(); return EXIT_SUCCESS;
                default: return EXIT_FAILURE;
                }
        if (!arg_cgroup || plain.len == 0 || shortcut.len == 0 || shortcut_blocking.len == 0)
                die("--cgroup, --plain, --shortcut and --blocking are needed");

        r = sd_bus_open_system(&bus);
        if (r < 0)
                die("cannot open the bus: %s", strerror(-r));
        failed = open_memstream(&failures, &failures_size);
        if (!failed)
                die("out of memory");

        for (unsigned t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
                for (const Row *row = tables[t]; row->name; row++)
                        if (wanted(row->name, argv + optind)) {
                                row_try(row);
                                tried++;
                        }
        sd_bus_flush_close_unref(bus);
        if (tried == 0)
                die("there is no such row");
        fclose(failed);
        fputs(failures, stdout);
        r = failures_size > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        free(failures);
        return r;
}
