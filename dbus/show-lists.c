/* SPDX-License-Identifier: GPL-2.0-or-later */

/* meshcutctl connections and veths: one row for each. */

#include <inttypes.h>

#include "json.h"
#include "show.h"
#include "table.h"

typedef struct Connection {
        const char *client_address, *server_address, *rule, *state;
        uint16_t client_port, server_port;
        uint64_t client_shortcut, server_shortcut, client_tcp, server_tcp, age;
} Connection;

static const Field connection_fields[] = {
        { "ClientAddress", "s", offsetof(Connection, client_address) },
        { "ClientPort", "q", offsetof(Connection, client_port) },
        { "ServerAddress", "s", offsetof(Connection, server_address) },
        { "ServerPort", "q", offsetof(Connection, server_port) },
        { "Rule", "s", offsetof(Connection, rule) },
        { "State", "s", offsetof(Connection, state) },
        { "ClientBytesShortcut", "t", offsetof(Connection, client_shortcut) },
        { "ServerBytesShortcut", "t", offsetof(Connection, server_shortcut) },
        { "ClientBytesTCP", "t", offsetof(Connection, client_tcp) },
        { "ServerBytesTCP", "t", offsetof(Connection, server_tcp) },
        { "AgeUSec", "t", offsetof(Connection, age) },
};

typedef struct Veth {
        const char *interface, *state, *reason, *hook;
        char **addresses;
        uint64_t packets, bytes;
} Veth;

static const Field veth_fields[] = {
        { "Interface", "s", offsetof(Veth, interface) },
        { "State", "s", offsetof(Veth, state) },
        { "Reason", "s", offsetof(Veth, reason) },
        { "Hook", "s", offsetof(Veth, hook) },
        { "Addresses", "as", offsetof(Veth, addresses), client_read_strv },
        { "PacketsShortcut", "t", offsetof(Veth, packets) },
        { "BytesShortcut", "t", offsetof(Veth, bytes) },
};

static void veth_done(Veth *veth) {
        strv_free(veth->addresses);
}

static void add_end(Table *table, const char *address, uint16_t port) {
        table_add(table, STYLE_PLAIN, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
}

static void add_connection(Table *table, const Connection *connection) {
        char buffer[FORMAT_MAX];

        add_end(table, connection->client_address, connection->client_port);
        add_end(table, connection->server_address, connection->server_port);
        table_add(table, STYLE_PLAIN, "%s", connection->rule);
        table_add(table, streq(connection->state, "shortcut") ? STYLE_GOOD : STYLE_PLAIN, "%s", connection->state);
        table_add(table, STYLE_PLAIN, "%s",
                  format_bytes(buffer, connection->client_shortcut + connection->server_shortcut));
        table_add(table, STYLE_PLAIN, "%s", format_bytes(buffer, connection->client_tcp + connection->server_tcp));
        table_add(table, STYLE_PLAIN, "%s", format_age(buffer, connection->age));
}

static int print_connections(sd_bus_message *reply) {
        static const Column columns[] = {
                { "CLIENT" },      { "SERVER" },    { "RULE" },      { "STATE" },
                { "BYTES", true }, { "TCP", true }, { "AGE", true },
        };
        _cleanup_table_ Table table = TABLE_OF(columns);
        int r;

        r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_at_end(reply, false)) == 0) {
                Connection connection = { .client_address = "", .server_address = "", .rule = "", .state = "" };

                r = client_read_fields(reply, connection_fields, ELEMENTSOF(connection_fields), &connection);
                if (r < 0)
                        return r;
                add_connection(&table, &connection);
        }
        if (r < 0)
                return r;

        if (table.n_cells == 0 && table.error == 0) {
                puts("no connections");
                return 0;
        }
        return table_print(&table);
}

int show_connections(Client *client, const Options *options) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        Json json = { .file = stdout };
        int r;

        r = client_prepare(client, MESHCUT_MANAGER_INTERFACE, "ListConnections", &call);
        if (r < 0)
                return r;

        r = sd_bus_message_append(call, "u", options->limit);
        if (r < 0)
                return r;

        r = client_send(client, call, &reply);
        if (r < 0)
                return r;

        if (!options->json)
                return print_connections(reply);

        r = json_message(&json, reply);
        putchar('\n');
        return r;
}

typedef int (*ShowVeth)(sd_bus_message *properties, void *userdata);

/* Finds our interface among those of one object, a{sa{sv}}. */
static int show_object(sd_bus_message *reply, ShowVeth show, void *userdata) {
        const char *interface;
        int r;

        r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "{sa{sv}}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_DICT_ENTRY, "sa{sv}")) > 0) {
                r = sd_bus_message_read_basic(reply, SD_BUS_TYPE_STRING, &interface);
                if (r < 0)
                        return r;

                r = streq(interface, MESHCUT_VETH_INTERFACE) ? show(reply, userdata)
                                                             : sd_bus_message_skip(reply, "a{sv}");
                if (r < 0)
                        return r;

                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(reply);
}

/* Calls a function for the properties of each veth in the reply to GetManagedObjects, a{oa{sa{sv}}}. */
static int for_each_veth(sd_bus_message *reply, ShowVeth show, void *userdata) {
        int r;

        r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "{oa{sa{sv}}}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_DICT_ENTRY, "oa{sa{sv}}")) > 0) {
                r = sd_bus_message_skip(reply, "o");
                if (r < 0)
                        return r;

                r = show_object(reply, show, userdata);
                if (r < 0)
                        return r;

                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        return r;
}

static int write_veth(sd_bus_message *properties, void *userdata) {
        return json_message(userdata, properties);
}

static int add_veth(sd_bus_message *properties, void *userdata) {
        _cleanup_(veth_done) Veth veth = { .interface = "", .state = "", .reason = "", .hook = "" };
        Table *table = userdata;
        char buffer[FORMAT_MAX];
        size_t n_addresses;
        int r;

        r = client_read_fields(properties, veth_fields, ELEMENTSOF(veth_fields), &veth);
        if (r < 0)
                return r;

        n_addresses = strv_length(veth.addresses);
        table_add(table, STYLE_PLAIN, "%s", veth.interface);
        table_add(table, streq(veth.state, "attached") ? STYLE_GOOD : STYLE_FAINT, "%s", veth.state);
        table_add(table, STYLE_PLAIN, "%s", isempty(veth.hook) ? "-" : veth.hook);
        if (n_addresses > 1)
                table_add(table, STYLE_PLAIN, "%s +%zu", veth.addresses[0], n_addresses - 1);
        else
                table_add(table, STYLE_PLAIN, "%s", n_addresses == 1 ? veth.addresses[0] : "-");
        table_add(table, STYLE_PLAIN, "%" PRIu64, veth.packets);
        table_add(table, STYLE_PLAIN, "%s", format_bytes(buffer, veth.bytes));
        table_add(table, STYLE_PLAIN, "%s", isempty(veth.reason) ? "-" : veth.reason);
        return 0;
}

static int write_veths(sd_bus_message *reply) {
        Json json = { .file = stdout };
        int r = 0;

        json_open(&json, '[');
        if (reply)
                r = for_each_veth(reply, write_veth, &json);
        json_close(&json, ']');
        putchar('\n');
        return r;
}

static int print_veths(sd_bus_message *reply) {
        static const Column columns[] = {
                { "INTERFACE" },     { "STATE" },         { "HOOK" },
                { "ADDRESS" },       { "PACKETS", true }, { "BYTES", true },
                { "REASON", .wrap = true },
        };
        _cleanup_table_ Table table = TABLE_OF(columns);
        int r = 0;

        if (reply)
                r = for_each_veth(reply, add_veth, &table);
        if (r < 0)
                return r;

        if (table.n_cells == 0 && table.error == 0) {
                puts("no veths");
                return 0;
        }
        return table_print(&table);
}

int show_veths(Client *client, const Options *options) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = client_call(client, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &reply);
        if (r < 0) {
                /* A daemon without the veth shortcut has no objects to manage, and so perhaps no manager of them. */
                if (!sd_bus_error_has_name(&client->error, SD_BUS_ERROR_UNKNOWN_METHOD) &&
                    !sd_bus_error_has_name(&client->error, SD_BUS_ERROR_UNKNOWN_INTERFACE))
                        return r;
                sd_bus_error_free(&client->error);
        }

        return options->json ? write_veths(reply) : print_veths(reply);
}
