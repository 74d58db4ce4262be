/* SPDX-License-Identifier: GPL-2.0-or-later */

/* meshcutctl metrics: state and counters as OpenMetrics text.
 *
 * node_exporter's textfile collector reads it with a parser of the older Prometheus format, to which a type other than
 * counter and gauge is an error: so there are only these two. */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "counters.h"
#include "show.h"

/* The counters of one rule; of all of them together if the name is NULL. */
typedef struct Group {
        const char *rule;
        Counters counters;
} Group;

typedef struct Metrics {
        const char *version;
        const char *states[2]; /* by shortcut_names */
        sd_bus_message *properties, *all, *by_rule;
        Group total;
        Group *rules;
        size_t n_rules;
} Metrics;

static const char *const shortcut_names[] = { "socket", "veth" };

static const Field metrics_fields[] = {
        { "Version", "s", offsetof(Metrics, version) },
        { "SocketShortcut", "s", offsetof(Metrics, states[0]) },
        { "VethShortcut", "s", offsetof(Metrics, states[1]) },
};

/* What a family of metrics means. A name that ends in a dot stands for one counter for each reason. */
static const struct {
        const char *name, *help;
} explanations[] = {
        { "socket.connections_active", "Connections that are enrolled with both ends now" },
        { "socket.connections_paired", "Connections that were enrolled with both ends" },
        { "socket.connections_left.", "Connections that were not enrolled" },
        { "socket.demoted", "Connections that were put back on plain TCP" },
        { "socket.messages_shortcut", "Messages that were handed over" },
        { "socket.passed.", "Messages of enrolled sockets that went by TCP" },
        { "socket.bytes_shortcut", "Bytes that were handed over" },
        { "socket.bytes_tcp", "Bytes that enrolled sockets sent by TCP" },
        { "veth.packets_shortcut", "Packets that were redirected" },
        { "veth.bytes_shortcut", "Bytes of the packets that were redirected" },
        { "veth.passed.", "Packets that went by the network stack" },
};

static void metrics_done(Metrics *metrics) {
        for (size_t i = 0; i < metrics->n_rules; i++)
                counters_done(&metrics->rules[i].counters);
        free(metrics->rules);
        counters_done(&metrics->total.counters);
        sd_bus_message_unref(metrics->properties);
        sd_bus_message_unref(metrics->all);
        sd_bus_message_unref(metrics->by_rule);
}

static int read_rule(Metrics *metrics) {
        Group *grown, *group;
        int r;

        grown = reallocarray(metrics->rules, metrics->n_rules + 1, sizeof(Group));
        if (!grown)
                return -ENOMEM;
        metrics->rules = grown;
        group = grown + metrics->n_rules++;
        *group = (Group) {};

        r = sd_bus_message_read_basic(metrics->by_rule, SD_BUS_TYPE_STRING, &group->rule);
        if (r < 0)
                return r;
        return counters_read(&group->counters, metrics->by_rule);
}

static int read_rules(Metrics *metrics) {
        int r;

        r = sd_bus_message_enter_container(metrics->by_rule, SD_BUS_TYPE_ARRAY, "(sa{st})");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(metrics->by_rule, SD_BUS_TYPE_STRUCT, "sa{st}")) > 0) {
                r = read_rule(metrics);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(metrics->by_rule);
                if (r < 0)
                        return r;
        }
        return r;
}

static int metrics_read(Metrics *metrics, Client *client) {
        int r;

        r = client_get_properties(client, &metrics->properties);
        if (r < 0)
                return r;
        r = client_read_fields(metrics->properties, metrics_fields, ELEMENTSOF(metrics_fields), metrics);
        if (r < 0)
                return r;

        r = client_call(client, MESHCUT_MANAGER_INTERFACE, "GetStatistics", &metrics->all);
        if (r < 0)
                return r;
        r = counters_read(&metrics->total.counters, metrics->all);
        if (r < 0)
                return r;

        r = client_call(client, MESHCUT_MANAGER_INTERFACE, "GetRuleStatistics", &metrics->by_rule);
        if (r < 0)
                return r;
        return read_rules(metrics);
}

static void write_label(FILE *file, const char *separator, const char *name, const char *value) {
        fprintf(file, "%s%s=\"", separator, name);
        for (const char *p = value; *p; p++)
                if (*p == '"' || *p == '\\')
                        fprintf(file, "\\%c", *p);
                else if (*p == '\n')
                        fputs("\\n", file);
                else
                        fputc(*p, file);
        fputc('"', file);
}

static void write_heading(FILE *file, const char *family, const char *type, const char *help) {
        fprintf(file, "# TYPE %s %s\n# HELP %s %s.\n", family, type, family, help);
}

/* The length of the part of a counter's name that its family has: of "socket.passed.order", the rest is a label. */
static size_t family_length(const char *name) {
        const char *first = strchr(name, '.'), *second = first ? strchr(first + 1, '.') : NULL;

        return second ? (size_t) (second + 1 - name) : strlen(name);
}

static bool same_family(const char *a, const char *b) {
        size_t length = family_length(a);

        return family_length(b) == length && strncmp(a, b, length) == 0;
}

static const char *explain(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(explanations); i++)
                if (same_family(explanations[i].name, name))
                        return explanations[i].help;
        return "A counter that this meshcutctl does not know";
}

/* Whether a counter is the first of its family. */
static bool begins_family(const Counters *counters, size_t i) {
        for (size_t k = 0; k < i; k++)
                if (same_family(counters->items[k].name, counters->items[i].name))
                        return false;
        return true;
}

static void write_samples(FILE *file, const char *metric, const Group *group, const char *name) {
        for (size_t i = 0; i < group->counters.n; i++) {
                const Counter *counter = group->counters.items + i;
                const char *separator = "{", *reason = counter->name + family_length(counter->name);

                if (!same_family(counter->name, name))
                        continue;

                fputs(metric, file);
                if (group->rule) {
                        write_label(file, separator, "rule", group->rule);
                        separator = ",";
                }
                if (*reason) {
                        write_label(file, separator, "reason", reason);
                        separator = ",";
                }
                fprintf(file, "%s %" PRIu64 "\n", *separator == ',' ? "}" : "", counter->value);
        }
}

/* All of the counters that one name stands for. OpenMetrics wants the samples of a family together. */
static int write_family(FILE *file, const char *prefix, const Group *groups, size_t n_groups, const char *name) {
        bool gauge = streq(name, "socket.connections_active");
        _cleanup_free_ char *family = NULL, *metric = NULL;
        size_t length = family_length(name);

        if (name[length - 1] == '.')
                length--;
        if (asprintf(&family, "%s%.*s", prefix, (int) length, name) < 0)
                return -ENOMEM;
        for (char *p = family; *p; p++)
                if (*p == '.' || *p == '-')
                        *p = '_';
        if (asprintf(&metric, "%s%s", family, gauge ? "" : "_total") < 0)
                return -ENOMEM;

        write_heading(file, family, gauge ? "gauge" : "counter", explain(name));
        for (size_t i = 0; i < n_groups; i++)
                write_samples(file, metric, groups + i, name);
        return 0;
}

static int write_groups(FILE *file, const char *prefix, const Group *groups, size_t n_groups) {
        int r;

        if (n_groups == 0)
                return 0;
        /* The daemon counts the same for every rule. */
        for (size_t i = 0; i < groups->counters.n; i++) {
                if (!begins_family(&groups->counters, i))
                        continue;
                r = write_family(file, prefix, groups, n_groups, groups->counters.items[i].name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void write_states(FILE *file, const Metrics *metrics) {
        static const char *const states[] = { "active", "disabled", "refused" };

        write_heading(file, "meshcut_shortcut_state", "gauge", "Whether a shortcut is in a state");
        for (size_t i = 0; i < ELEMENTSOF(shortcut_names); i++)
                for (size_t k = 0; k < ELEMENTSOF(states); k++) {
                        fputs("meshcut_shortcut_state", file);
                        write_label(file, "{", "shortcut", shortcut_names[i]);
                        write_label(file, ",", "state", states[k]);
                        fprintf(file, "} %d\n", streq(metrics->states[i], states[k]));
                }
}

static int write_all(FILE *file, const Metrics *metrics, bool up) {
        int r = 0;

        write_heading(file, "meshcut_up", "gauge", "Whether the service answers");
        fprintf(file, "meshcut_up %d\n", up);
        if (up) {
                write_heading(file, "meshcut_build_info", "gauge", "The version of the service");
                fputs("meshcut_build_info", file);
                write_label(file, "{", "version", metrics->version);
                fputs("} 1\n", file);
                write_states(file, metrics);
                r = write_groups(file, "meshcut_", &metrics->total, 1);
                if (r >= 0)
                        r = write_groups(file, "meshcut_rule_", metrics->rules, metrics->n_rules);
        }
        fputs("# EOF\n", file);
        return r;
}

/* Takes the descriptor. */
static int write_file(int fd, const Metrics *metrics, bool up) {
        FILE *file = fdopen(fd, "w");
        int r;

        if (!file) {
                r = -errno;
                close(fd);
                return r;
        }
        r = write_all(file, metrics, up);
        if (r >= 0 && fchmod(fd, 0644) < 0)
                r = -errno;
        if (fclose(file) != 0 && r >= 0)
                r = -errno;
        return r;
}

/* A collector that reads the file at any moment finds all of the old or all of the new. */
static int replace_file(const char *path, const Metrics *metrics, bool up) {
        _cleanup_free_ char *temporary = NULL;
        int fd, r;

        /* The collector takes all that ends in .prom, which this does not. */
        if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
                return -ENOMEM;
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_file(fd, metrics, up);
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(temporary);
        return r;
}

int write_metrics(Client *client, const Options *options) {
        _cleanup_(metrics_done) Metrics metrics = { .version = "", .states = { "", "" } };
        bool up = true;
        int r;

        r = metrics_read(&metrics, client);
        /* That it does not run is what a monitoring system wants to know, rather than nothing. */
        if (r < 0 && client_is_not_running(client)) {
                sd_bus_error_free(&client->error);
                up = false;
                r = 0;
        }
        if (r < 0)
                return r;

        if (!options->output)
                return write_all(stdout, &metrics, up);
        r = replace_file(options->output, &metrics, up);
        if (r < 0)
                fprintf(stderr, "%s: ", options->output);
        return r;
}
