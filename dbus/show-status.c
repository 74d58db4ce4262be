/* SPDX-License-Identifier: GPL-2.0-or-later */

/* meshcutctl status: what is on, what is refused and why, and what the kernel can do. */

#include "json.h"
#include "show.h"
#include "table.h"

typedef struct Feature {
        const char *name;
        int passed;
        const char *seen;
} Feature;

typedef struct Features {
        Feature *items;
        size_t n;
} Features;

typedef struct Status {
        const char *version;
        const char *socket, *socket_reason;
        const char *veth, *veth_reason;
        const char *cgroup_root;
        char **files;
        Features features;
} Status;

static void status_done(Status *status) {
        strv_free(status->files);
        free(status->features.items);
}

static int read_features(sd_bus_message *message, void *target) {
        Features *features = target;
        Feature feature;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(sbs)");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_read(message, "(sbs)", &feature.name, &feature.passed, &feature.seen)) > 0) {
                Feature *grown;

                grown = reallocarray(features->items, features->n + 1, sizeof(Feature));
                if (!grown)
                        return -ENOMEM;
                features->items = grown;
                features->items[features->n++] = feature;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(message);
}

static const Field status_fields[] = {
        { "Version", "s", offsetof(Status, version) },
        { "SocketShortcut", "s", offsetof(Status, socket) },
        { "SocketShortcutReason", "s", offsetof(Status, socket_reason) },
        { "VethShortcut", "s", offsetof(Status, veth) },
        { "VethShortcutReason", "s", offsetof(Status, veth_reason) },
        { "CgroupRoot", "s", offsetof(Status, cgroup_root) },
        { "ConfigurationFiles", "as", offsetof(Status, files), client_read_strv },
        { "Features", "a(sbs)", offsetof(Status, features), read_features },
};

static void write_shortcut(Json *json, const char *name, const char *state, const char *reason) {
        json_key(json, name);
        json_open(json, '{');
        json_key(json, "state");
        json_string(json, state);
        json_key(json, "reason");
        json_string(json, reason);
        json_close(json, '}');
}

static void status_write(const Status *status) {
        Json json = { .file = stdout };

        json_open(&json, '{');
        json_key(&json, "version");
        json_string(&json, status->version);
        write_shortcut(&json, "socket", status->socket, status->socket_reason);
        write_shortcut(&json, "veth", status->veth, status->veth_reason);
        json_key(&json, "cgroupRoot");
        json_string(&json, status->cgroup_root);
        json_key(&json, "configurationFiles");
        json_strv(&json, status->files);

        json_key(&json, "features");
        json_open(&json, '[');
        for (size_t i = 0; i < status->features.n; i++) {
                const Feature *feature = status->features.items + i;

                json_open(&json, '{');
                json_key(&json, "name");
                json_string(&json, feature->name);
                json_key(&json, "passed");
                json_bool(&json, feature->passed);
                json_key(&json, "seen");
                json_string(&json, feature->seen);
                json_close(&json, '}');
        }
        json_close(&json, ']');
        json_close(&json, '}');
        putchar('\n');
}

static void add_shortcut(Table *table, const char *label, const char *state, const char *reason) {
        Style style = streq(state, "active")  ? STYLE_GOOD
                    : streq(state, "refused") ? STYLE_BAD
                                              : STYLE_FAINT;

        table_add(table, STYLE_PLAIN, "%s:", label);
        if (isempty(reason))
                table_add(table, style, "%s", state);
        else
                table_add(table, style, "%s (%s)", state, reason);
}

static int print_summary(const Status *status) {
        static const Column columns[] = { { .right = true }, { .wrap = true } };
        _cleanup_table_ Table table = TABLE_OF(columns);

        add_shortcut(&table, "Socket shortcut", status->socket, status->socket_reason);
        add_shortcut(&table, "Veth shortcut", status->veth, status->veth_reason);
        table_add(&table, STYLE_PLAIN, "Cgroup root:");
        table_add(&table, STYLE_PLAIN, "%s", isempty(status->cgroup_root) ? "none" : status->cgroup_root);
        table_add(&table, STYLE_PLAIN, "Configuration:");
        table_add(&table, STYLE_PLAIN, "%s", strv_length(status->files) > 0 ? status->files[0] : "built-in defaults");
        for (size_t i = 1; i < strv_length(status->files); i++) {
                table_add(&table, STYLE_PLAIN, "%s", "");
                table_add(&table, STYLE_PLAIN, "%s", status->files[i]);
        }
        return table_print(&table);
}

static int print_features(const Features *features) {
        static const Column columns[] = { { "KERNEL" }, { "PASSED" }, { "WHAT WAS SEEN", .wrap = true } };
        _cleanup_table_ Table table = TABLE_OF(columns);

        for (size_t i = 0; i < features->n; i++) {
                const Feature *feature = features->items + i;

                table_add(&table, STYLE_PLAIN, "%s", feature->name);
                table_add(&table, feature->passed ? STYLE_GOOD : STYLE_BAD, "%s", yes_no(feature->passed));
                table_add(&table, STYLE_PLAIN, "%s", feature->seen);
        }
        return table_print(&table);
}

int show_status(Client *client, const Options *options) {
        _cleanup_(status_done) Status status = {
                .version = "", .socket = "", .socket_reason = "", .veth = "", .veth_reason = "", .cgroup_root = "",
        };
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = client_get_properties(client, &reply);
        if (r < 0)
                return r;

        r = client_read_fields(reply, status_fields, ELEMENTSOF(status_fields), &status);
        if (r < 0)
                return r;

        if (options->json) {
                status_write(&status);
                return 0;
        }

        printf("%smeshcutd %s%s\n\n", style_sequence(STYLE_TITLE), status.version, style_sequence(STYLE_PLAIN));
        r = print_summary(&status);
        if (r < 0 || status.features.n == 0)
                return r;

        putchar('\n');
        return print_features(&status.features);
}
