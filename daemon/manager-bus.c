// SPDX-License-Identifier: GPL-2.0-or-later

#include <time.h>

#include "bus-util.h"
#include "log.h"
#include "log-bus.h"
#include "manager-bus.h"
#include "stats.h"
#include "veth-bus.h"
#include "veth-plan.h"

#define BUS_NAME "org.meshcut1"
#define BUS_PATH "/org/meshcut1"
#define BUS_INTERFACE "org.meshcut1.Manager"
#define BUS_ERROR(name) "org.meshcut1.Error." name

/* Nobody names each of two things more often than this. */
#define NAMES_MAX 16

static int read_shortcuts(sd_bus_message *request, unsigned *ret, sd_bus_error *error) {
        unsigned shortcuts = 0, n = 0;
        const char *name;
        int r = sd_bus_message_enter_container(request, 'a', "s");

        while (r >= 0 && (r = sd_bus_message_read(request, "s", &name)) > 0) {
                Shortcut s = shortcut_from_string(name);

                if (++n > NAMES_MAX)
                        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "Too many names of shortcuts");
                if (s < 0)
                        return sd_bus_error_setf(error, BUS_ERROR("NoSuchShortcut"), "No such shortcut: %s", name);
                shortcuts |= 1U << s;
        }
        if (r < 0)
                return r;
        *ret = shortcuts;
        return 0;
}

static int set_shortcuts(sd_bus_message *request, Manager *m, bool on, sd_bus_error *error) {
        unsigned shortcuts = 0;
        Shortcut refused;
        int r = read_shortcuts(request, &shortcuts, error);

        if (r < 0)
                return r;
        r = manager_set_shortcuts(m, shortcuts, on, &refused);
        if (r == -EOPNOTSUPP)
                return sd_bus_error_setf(error, BUS_ERROR("Refused"), "Shortcut %s is refused: %s",
                                         shortcut_to_string(refused), manager_refusal(m, refused));
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(request, NULL);
}

static int enable(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        return set_shortcuts(request, userdata, true, error);
}

static int disable(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        return set_shortcuts(request, userdata, false, error);
}

static int reload(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f;
        int r = manager_reload(userdata, &messages);

        if (r >= 0)
                return sd_bus_reply_method_return(request, NULL);
        if (!messages.errors)
                return sd_bus_error_setf(error, BUS_ERROR("InvalidConfiguration"),
                                         "The configuration cannot be applied: %s", strerror(-r));
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        for (char **s = messages.errors; *s; s++)
                fprintf(f, "%s%s", s == messages.errors ? "" : "\n", *s);
        if (fclose(f) != 0)
                return -ENOMEM;
        return sd_bus_error_set(error, BUS_ERROR("InvalidConfiguration"), text);
}

static int append_counter(const char *name, uint64_t value, void *userdata) {
        return sd_bus_message_append(userdata, "{st}", name, value);
}

/* veth: NULL, or counters of the veth shortcut that go behind the others. */
static int append_counters(sd_bus_message *reply, const struct meshcut_counters *counters,
                           const struct meshcut_veth_counters *veth) {
        int r = sd_bus_message_open_container(reply, 'a', "{st}");

        if (r >= 0)
                r = stats_for_each(counters, append_counter, reply);
        if (r >= 0 && veth)
                r = stats_for_each_veth(veth, append_counter, reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_statistics(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct meshcut_counters sum = {}, of_rule;
        struct meshcut_veth_counters veth;
        Manager *m = userdata;
        int r = sd_bus_message_new_method_return(request, &reply);

        for (uint32_t rule = 0; r >= 0 && m->socket && rule <= MESHCUT_RULE_NONE; rule++) {
                r = socket_datapath_read_counters(m->socket, rule, &of_rule);
                if (r >= 0)
                        counters_add(&sum, &of_rule);
        }
        if (r >= 0)
                r = veth_read_counters(m->veth, 0, &veth);
        if (r >= 0)
                r = append_counters(reply, &sum, &veth);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int append_rule(sd_bus_message *reply, const Manager *m, uint32_t rule) {
        const char *name = socket_datapath_rule_name(m->socket, rule);
        struct meshcut_counters counters;
        int r;

        if (isempty(name) || !policy_find_rule(m->policy, name))
                return 0;
        r = socket_datapath_read_counters(m->socket, rule, &counters);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'r', "sa{st}");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", name);
        if (r >= 0)
                r = append_counters(reply, &counters, NULL);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_rule_statistics(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        int r = sd_bus_message_new_method_return(request, &reply);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sa{st})");
        for (uint32_t rule = 0; r >= 0 && m->socket && rule < MESHCUT_RULES_MAX; rule++)
                r = append_rule(reply, m, rule);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int append_end(sd_bus_message *reply, const Manager *m, const char *side, const struct meshcut_end *end) {
        const struct {
                const char *key, *type;
                uint64_t number;
                const char *text;
        } fields[] = {
                { "Address", "s", 0, address_to_string(end->identity.address, (char[ADDRESS_STRING_MAX]){}) },
                { "Port", "q", end->identity.port, NULL },
                { "PeerAddress", "s", 0, address_to_string(end->identity.peer_address, (char[ADDRESS_STRING_MAX]){}) },
                { "PeerPort", "q", end->identity.peer_port, NULL },
                { "Cgroup", "s", 0, cgroup_tree_path(m->cgroups, end->identity.cgroup) ?: "" },
                { "NetNs", "u", end->identity.netns, NULL },
                { "BytesShortcut", "t", end->bytes_shortcut, NULL },
                { "BytesTCP", "t", end->bytes_tcp, NULL },
                { "MessagesShortcut", "t", end->messages_shortcut, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                char key[32];
                int r;

                snprintf(key, sizeof(key), "%s%s", side, fields[i].key);
                switch (*fields[i].type) {
                case 's':
                        r = sd_bus_message_append(reply, "{sv}", key, "s", fields[i].text);
                        break;
                case 'q':
                        r = sd_bus_message_append(reply, "{sv}", key, "q", (uint16_t) fields[i].number);
                        break;
                case 'u':
                        r = sd_bus_message_append(reply, "{sv}", key, "u", (uint32_t) fields[i].number);
                        break;
                default:
                        r = sd_bus_message_append(reply, "{sv}", key, "t", fields[i].number);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static uint64_t age_usec(const struct meshcut_end *end) {
        struct timespec now;
        uint64_t now_ns;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        now_ns = now.tv_sec * USEC_PER_SEC * NSEC_PER_USEC + now.tv_nsec;
        return now_ns > end->established_ns ? (now_ns - end->established_ns) / NSEC_PER_USEC : 0;
}

static int append_connection(sd_bus_message *reply, const Manager *m, const Connection *c) {
        bool off = !socket_datapath_is_on(m->socket) || ((c->client.flags | c->server.flags) & MESHCUT_END_OFF);
        const char *state = off ? "tcp" : c->client.peer_cookie ? "shortcut" : "pending";
        int r = sd_bus_message_open_container(reply, 'a', "{sv}");

        if (r >= 0)
                r = append_end(reply, m, "Client", &c->client);
        if (r >= 0)
                r = append_end(reply, m, "Server", &c->server);
        if (r >= 0)
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}", "Rule", "s",
                                          socket_datapath_rule_name(m->socket, c->server.rule), "State", "s", state,
                                          "AgeUSec", "t", age_usec(&c->client));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* A connection takes about 1 KiB of a message, and a bus drops a peer that sends more than 32 MiB at once. */
#define LIST_MAX 16384U

static int list_connections(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ Connection *connections = NULL;
        Manager *m = userdata;
        uint32_t limit;
        size_t n = 0;
        int r = sd_bus_message_read(request, "u", &limit);

        if (r >= 0 && m->socket)
                r = socket_datapath_list(m->socket, limit ? MIN(limit, LIST_MAX) : LIST_MAX, &connections, &n);
        if (r >= 0)
                r = sd_bus_message_new_method_return(request, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = append_connection(reply, m, &connections[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* Everything that changes something, and what shows who talks to whom. What is wrong with the arguments is said at once,
 * so that nothing large waits. */
static int change_shortcuts(sd_bus_message *request, Manager *m, bus_handler_t handler, sd_bus_error *error) {
        unsigned shortcuts;
        int r = read_shortcuts(request, &shortcuts, error);

        if (r >= 0)
                r = sd_bus_message_rewind(request, true);
        return r < 0 ? r : bus_queue_add(m->calls, request, BUS_ACTION_MANAGE, handler, m, error);
}

static int method_enable(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        return change_shortcuts(request, userdata, enable, error);
}

static int method_disable(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        return change_shortcuts(request, userdata, disable, error);
}

static int method_reload(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return bus_queue_add(m->calls, request, BUS_ACTION_MANAGE, reload, m, error);
}

static int method_list_connections(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return bus_queue_add(m->calls, request, BUS_ACTION_MANAGE, list_connections, m, error);
}

static int method_get_statistics(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return bus_queue_add(m->calls, request, NULL, get_statistics, m, error);
}

static int method_get_rule_statistics(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return bus_queue_add(m->calls, request, NULL, get_rule_statistics, m, error);
}

static Shortcut shortcut_of_property(const char *property) {
        return strncmp(property, "Veth", 4) == 0 ? SHORTCUT_VETH : SHORTCUT_SOCKET;
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", MESHCUT_VERSION);
}

static int get_shortcut(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        ShortcutState state = manager_shortcut_state(userdata, shortcut_of_property(property));

        return sd_bus_message_append(reply, "s", shortcut_state_to_string(state));
}

static int get_shortcut_reason(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", manager_shortcut_reason(userdata, shortcut_of_property(property)));
}

static int get_cgroup_root(sd_bus *bus, const char *path, const char *interface, const char *property,
                           sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return sd_bus_message_append(reply, "s", cgroup_tree_root(m->cgroups));
}

static int get_configuration_files(sd_bus *bus, const char *path, const char *interface, const char *property,
                                   sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return sd_bus_message_append_strv(reply, m->policy->files);
}

static int get_features(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;
        int r = sd_bus_message_open_container(reply, 'a', "(sbs)");

        for (int i = 0; r >= 0 && i < PROBE_MAX; i++)
                r = sd_bus_message_append(reply, "(sbs)", probe_to_string(i), m->probes.features[i].passed,
                                          m->probes.features[i].seen);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("SocketShortcut", "s", get_shortcut, 0, CHANGES),
        SD_BUS_PROPERTY("SocketShortcutReason", "s", get_shortcut_reason, 0, CHANGES),
        SD_BUS_PROPERTY("VethShortcut", "s", get_shortcut, 0, CHANGES),
        SD_BUS_PROPERTY("VethShortcutReason", "s", get_shortcut_reason, 0, CHANGES),
        SD_BUS_PROPERTY("CgroupRoot", "s", get_cgroup_root, 0, CHANGES),
        SD_BUS_PROPERTY("ConfigurationFiles", "as", get_configuration_files, 0, CHANGES),
        SD_BUS_PROPERTY("Features", "a(sbs)", get_features, 0, CHANGES),
        SD_BUS_METHOD_WITH_ARGS("Enable", SD_BUS_ARGS("as", shortcuts), SD_BUS_NO_RESULT, method_enable,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Disable", SD_BUS_ARGS("as", shortcuts), SD_BUS_NO_RESULT, method_disable,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_reload,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStatistics", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{st}", counters), method_get_statistics,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetRuleStatistics", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sa{st})", rules),
                                method_get_rule_statistics, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListConnections", SD_BUS_ARGS("u", limit), SD_BUS_RESULT("aa{sv}", connections),
                                method_list_connections, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int manager_bus_connect(Manager *m) {
        int r = sd_bus_open_system(&m->bus);

        if (r < 0) {
                log_error("Cannot connect to the system bus: %s", strerror(-r));
                return r;
        }
        r = sd_bus_set_exit_on_disconnect(m->bus, true);
        if (r >= 0)
                r = bus_queue_new(m->bus, m->event, &m->calls);
        if (r >= 0)
                r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_add_object_vtable(m->bus, &m->vtable, BUS_PATH, BUS_INTERFACE, manager_vtable, m);
        if (r >= 0)
                r = veth_bus_add(m);
        if (r >= 0)
                r = log_bus_add(m->bus);
        if (r >= 0)
                r = sd_bus_request_name(m->bus, BUS_NAME, 0);
        if (r < 0)
                log_error("Cannot take the name " BUS_NAME " on the system bus: %s",
                          r == -EEXIST ? "another meshcutd has it" : strerror(-r));
        return r;
}

void manager_bus_announce_shortcut(Manager *m, Shortcut shortcut) {
        const char *const names[SHORTCUT_MAX][2] = {
                [SHORTCUT_SOCKET] = { "SocketShortcut", "SocketShortcutReason" },
                [SHORTCUT_VETH] = { "VethShortcut", "VethShortcutReason" },
        };

        (void) sd_bus_emit_properties_changed(m->bus, BUS_PATH, BUS_INTERFACE, names[shortcut][0], names[shortcut][1],
                                              NULL);
}

void manager_bus_announce_configuration(Manager *m) {
        (void) sd_bus_emit_properties_changed(m->bus, BUS_PATH, BUS_INTERFACE, "CgroupRoot", "ConfigurationFiles",
                                              NULL);
}
