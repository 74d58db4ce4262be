/* SPDX-License-Identifier: GPL-2.0-or-later */

/* meshcutctl stats: the counters in groups, by rule, or as rates each second. */

#include <inttypes.h>
#include <time.h>

#include "counters.h"
#include "json.h"
#include "show.h"
#include "table.h"

#define HEADING_EVERY 20 /* lines of --watch */

typedef struct Sample {
        sd_bus_message *reply;
        Counters counters;
        uint64_t usec;
} Sample;

/* Where a counter appears. The first line that fits takes it; a name that ends in a dot takes all that begin so, each
 * under what follows the dot. What no line takes is shown last under its full name. */
typedef struct Line {
        const char *name;
        const char *label;
        bool bytes;
} Line;

static const Line lines[] = {
        { "socket.connections_active", "Connections by shortcut now" },
        { "socket.connections_paired", "Connections paired so far" },
        { "socket.demoted", "Of these, back to TCP" },
        { "socket.connections_left.", "Connections left alone" },
        { "socket.messages_shortcut", "Messages by shortcut" },
        { "socket.passed.", "Messages by TCP" },
        { "socket.bytes_shortcut", "Bytes by shortcut", true },
        { "socket.bytes_tcp", "Bytes by TCP", true },
        { "veth.packets_shortcut", "Veth packets by shortcut" },
        { "veth.bytes_shortcut", "Veth bytes by shortcut", true },
        { "veth.passed.", "Veth packets by the stack" },
};

static void sample_done(Sample *sample) {
        counters_done(&sample->counters);
        sample->reply = sd_bus_message_unref(sample->reply);
}

static bool line_takes(const char *name, const Counter *counter) {
        size_t length = strlen(name);

        return name[length - 1] == '.' ? strncmp(counter->name, name, length) == 0 : streq(counter->name, name);
}

/* The sum of the counters that a name takes, as in Line. */
static uint64_t counters_sum(const Counters *counters, const char *name) {
        uint64_t sum = 0;

        for (size_t i = 0; i < counters->n; i++)
                if (line_takes(name, counters->items + i))
                        sum += counters->items[i].value;
        return sum;
}

static void add_value(Table *table, uint64_t value, bool bytes) {
        char buffer[FORMAT_MAX];

        if (bytes)
                table_add(table, STYLE_PLAIN, "%s", format_bytes(buffer, value));
        else
                table_add(table, STYLE_PLAIN, "%" PRIu64, value);
}

static void add_line(Table *table, const Line *line, const Counters *counters) {
        size_t length = strlen(line->name), n = 0;

        for (size_t i = 0; i < counters->n; i++)
                n += line_takes(line->name, counters->items + i);
        if (n == 0)
                return;

        table_add(table, STYLE_TITLE, "%s", line->label);
        add_value(table, counters_sum(counters, line->name), line->bytes);
        if (line->name[length - 1] != '.')
                return;

        /* Of dozens of reasons few ever occur. */
        for (size_t i = 0; i < counters->n; i++)
                if (line_takes(line->name, counters->items + i) && counters->items[i].value > 0) {
                        table_add(table, STYLE_PLAIN, "    %s", counters->items[i].name + length);
                        add_value(table, counters->items[i].value, line->bytes);
                }
}

static bool is_listed(const Counter *counter) {
        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                if (line_takes(lines[i].name, counter))
                        return true;
        return false;
}

static int print_counters(const Counters *counters) {
        static const Column columns[] = { {}, { .right = true } };
        _cleanup_table_ Table table = TABLE_OF(columns);

        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                add_line(&table, lines + i, counters);

        for (size_t i = 0; i < counters->n; i++)
                if (!is_listed(counters->items + i)) {
                        table_add(&table, STYLE_TITLE, "%s", counters->items[i].name);
                        add_value(&table, counters->items[i].value, false);
                }
        return table_print(&table);
}

static int add_rule(Table *table, sd_bus_message *message) {
        _cleanup_(counters_done) Counters counters = {};
        const char *name;
        int r;

        r = sd_bus_message_read_basic(message, SD_BUS_TYPE_STRING, &name);
        if (r < 0)
                return r;

        r = counters_read(&counters, message);
        if (r < 0)
                return r;

        table_add(table, STYLE_PLAIN, "%s", name);
        add_value(table, counters_sum(&counters, "socket.connections_active"), false);
        add_value(table, counters_sum(&counters, "socket.connections_paired"), false);
        add_value(table, counters_sum(&counters, "socket.messages_shortcut"), false);
        add_value(table, counters_sum(&counters, "socket.bytes_shortcut"), true);
        add_value(table, counters_sum(&counters, "socket.bytes_tcp"), true);
        return 0;
}

/* Prints a(sa{st}). */
static int print_rules(sd_bus_message *reply) {
        static const Column columns[] = {
                { "RULE" },           { "ACTIVE", true }, { "PAIRED", true },
                { "MESSAGES", true }, { "BYTES", true },  { "TCP", true },
        };
        _cleanup_table_ Table table = TABLE_OF(columns);
        int r;

        r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "(sa{st})");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_STRUCT, "sa{st}")) > 0) {
                r = add_rule(&table, reply);
                if (r < 0)
                        return r;

                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        if (r < 0 || table.n_cells == 0)
                return r < 0 ? r : table.error;

        putchar('\n');
        return table_print(&table);
}

/* Writes the counters as one object, with those of the rules under "rules", which is no counter's name. */
static int write_statistics(const Counters *counters, sd_bus_message *rules) {
        Json json = { .file = stdout };
        const char *name;
        int r;

        json_open(&json, '{');
        for (size_t i = 0; i < counters->n; i++) {
                json_key(&json, counters->items[i].name);
                json_unsigned(&json, counters->items[i].value);
        }

        json_key(&json, "rules");
        json_open(&json, '{');
        r = sd_bus_message_enter_container(rules, SD_BUS_TYPE_ARRAY, "(sa{st})");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(rules, SD_BUS_TYPE_STRUCT, "sa{st}")) > 0) {
                r = sd_bus_message_read_basic(rules, SD_BUS_TYPE_STRING, &name);
                if (r < 0)
                        return r;

                json_key(&json, name);
                r = json_message(&json, rules);
                if (r < 0)
                        return r;

                r = sd_bus_message_exit_container(rules);
                if (r < 0)
                        return r;
        }
        json_close(&json, '}');
        json_close(&json, '}');
        putchar('\n');
        return r;
}

static uint64_t now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * USEC_PER_SEC + now.tv_nsec / NSEC_PER_USEC;
}

static int sample_take(Sample *sample, Client *client) {
        int r;

        r = client_call(client, MESHCUT_MANAGER_INTERFACE, "GetStatistics", &sample->reply);
        if (r < 0)
                return r;

        sample->usec = now_usec();
        return counters_read(&sample->counters, sample->reply);
}

int show_statistics(Client *client, const Options *options) {
        _cleanup_message_ sd_bus_message *rules = NULL;
        _cleanup_(sample_done) Sample sample = {};
        int r;

        r = sample_take(&sample, client);
        if (r < 0)
                return r;

        r = client_call(client, MESHCUT_MANAGER_INTERFACE, "GetRuleStatistics", &rules);
        if (r < 0)
                return r;

        if (options->json)
                return write_statistics(&sample.counters, rules);

        r = print_counters(&sample.counters);
        if (r < 0)
                return r;

        return print_rules(rules);
}

/* The growth in a second, and 0 if a counter has started anew. */
static uint64_t rate(const Sample *before, const Sample *after, const char *name) {
        uint64_t was = counters_sum(&before->counters, name), is = counters_sum(&after->counters, name);

        if (is <= was || after->usec <= before->usec)
                return 0;
        return (double) (is - was) * USEC_PER_SEC / (after->usec - before->usec) + 0.5;
}

static void print_rates(const Sample *before, const Sample *after, unsigned line) {
        static const Line columns[] = {
                { "socket.connections_paired", "PAIRED/s" },
                { "socket.connections_left.", "LEFT/s" },
                { "socket.messages_shortcut", "MSGS/s" },
                { "socket.bytes_shortcut", "BYTES/s", true },
                { "socket.passed.", "PASSED/s" },
                { "socket.bytes_tcp", "TCP/s", true },
                { "veth.bytes_shortcut", "VETH/s", true },
        };
        char buffer[FORMAT_MAX];

        if (line % HEADING_EVERY == 0) {
                printf("%s%8s", style_sequence(STYLE_TITLE), "ACTIVE");
                for (size_t i = 0; i < ELEMENTSOF(columns); i++)
                        printf("%10s", columns[i].label);
                printf("%s\n", style_sequence(STYLE_PLAIN));
        }

        printf("%8" PRIu64, counters_sum(&after->counters, "socket.connections_active"));
        for (size_t i = 0; i < ELEMENTSOF(columns); i++) {
                uint64_t value = rate(before, after, columns[i].name);

                if (columns[i].bytes)
                        printf("%10s", format_bytes(buffer, value));
                else
                        printf("%10" PRIu64, value);
        }
        putchar('\n');
}

/* Prints a line each second until interrupted or until the daemon goes away: rates, or with --json the counters. */
int watch_statistics(Client *client, const Options *options) {
        _cleanup_(sample_done) Sample before = {};
        int r;

        r = sample_take(&before, client);
        if (r < 0)
                return r;

        for (unsigned line = 0;; line++) {
                _cleanup_(sample_done) Sample after = {};
                Sample swap;

                sleep(1);
                r = sample_take(&after, client);
                if (r < 0)
                        return r;

                if (options->json) {
                        Json json = { .file = stdout };

                        sd_bus_message_rewind(after.reply, true);
                        r = json_message(&json, after.reply);
                        if (r < 0)
                                return r;
                        putchar('\n');
                } else
                        print_rates(&before, &after, line);

                /* Whoever reads us through a pipe wants each line now, and may have left. */
                if (fflush(stdout) != 0)
                        return -errno;

                swap = before;
                before = after;
                after = swap;
        }
}
