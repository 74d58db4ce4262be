// SPDX-License-Identifier: GPL-2.0-or-later

#include "bus-util.h"
#include "stats.h"
#include "veth-bus.h"
#include "veth-plan.h"

#define BUS_PATH "/org/meshcut1"
#define BUS_VETHS "/org/meshcut1/veth"
#define BUS_INTERFACE "org.meshcut1.Veth"
#define PATH_MAX_LENGTH (sizeof(BUS_VETHS "/_") + 10)

static const char *const hook_names[] = {
        [VETH_HOOK_NONE] = "",
        [VETH_HOOK_TCX] = "tcx",
        [VETH_HOOK_CLSACT] = "clsact",
};
_Static_assert(ELEMENTSOF(hook_names) == VETH_HOOK_MAX, "a name for every hook");

/* An underscore, since a bare number would not stand alone in most languages' bindings. */
static const char *path_of(uint32_t ifindex, char buffer[static PATH_MAX_LENGTH]) {
        snprintf(buffer, PATH_MAX_LENGTH, BUS_VETHS "/_%u", ifindex);
        return buffer;
}

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                sd_bus_error *error) {
        const VethInterface *veth;
        Manager *m = userdata;
        uint32_t ifindex;
        char end;

        if (sscanf(path, BUS_VETHS "/_%u%c", &ifindex, &end) != 1)
                return 0;
        veth = veth_find(m->veth, ifindex);
        if (!veth)
                return 0;
        *ret_found = (void *) veth;
        return 1;
}

static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        _cleanup_strv_free_ char **nodes = NULL;
        const VethInterface *veths;
        Manager *m = userdata;
        size_t n;

        veths = veth_list(m->veth, &n);
        nodes = calloc(n + 1, sizeof(*nodes));
        if (!nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                nodes[i] = strdup(path_of(veths[i].ifindex, (char[PATH_MAX_LENGTH]){}));
                if (!nodes[i])
                        return -ENOMEM;
        }
        *ret_nodes = TAKE_PTR(nodes);
        return 0;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        const VethInterface *veth = userdata;
        const char *text = streq(property, "Interface") ? veth->name
                           : streq(property, "State")   ? (veth->attached ? "attached" : "left")
                           : streq(property, "Hook")    ? hook_names[veth->hook]
                                                        : veth->reason ?: "";

        return sd_bus_message_append(reply, "s", text);
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const VethInterface *veth = userdata;
        int32_t number = streq(property, "IfIndex")       ? (int32_t) veth->ifindex
                         : streq(property, "PeerIfIndex") ? (int32_t) veth->peer_ifindex
                                                          : veth->peer_nsid;

        return sd_bus_message_append(reply, "i", number);
}

static int get_addresses(sd_bus *bus, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const VethInterface *veth = userdata;
        int r = sd_bus_message_open_container(reply, 'a', "s");

        for (size_t i = 0; r >= 0 && i < veth->n_addresses; i++)
                r = sd_bus_message_append(reply, "s",
                                          address_to_string(veth->addresses[i], (char[ADDRESS_STRING_MAX]){}));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_counter(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct meshcut_veth_counters counters;
        const VethInterface *veth = userdata;
        int r = veth_read_counters(veth->owner, veth->ifindex, &counters);

        if (r < 0)
                return r;
        return sd_bus_message_append(reply, "t",
                                     streq(property, "PacketsShortcut") ? counters.shortcut.packets
                                                                        : counters.shortcut.bytes);
}

static int append_counter(const char *name, uint64_t value, void *userdata) {
        return sd_bus_message_append(userdata, "{st}", name, value);
}

static int get_statistics(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct meshcut_veth_counters counters;
        const VethInterface *veth = userdata;
        int r = veth_read_counters(veth->owner, veth->ifindex, &counters);

        if (r >= 0)
                r = sd_bus_message_new_method_return(request, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{st}");
        if (r >= 0)
                r = stats_for_each_veth(&counters, append_counter, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONST SD_BUS_VTABLE_PROPERTY_CONST

static const sd_bus_vtable veth_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Interface", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("IfIndex", "i", get_number, 0, CONST),
        SD_BUS_PROPERTY("PeerIfIndex", "i", get_number, 0, CHANGES),
        SD_BUS_PROPERTY("PeerNetNsId", "i", get_number, 0, CHANGES),
        SD_BUS_PROPERTY("Addresses", "as", get_addresses, 0, CHANGES),
        SD_BUS_PROPERTY("State", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("Reason", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("Hook", "s", get_text, 0, CHANGES),
        SD_BUS_PROPERTY("PacketsShortcut", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("BytesShortcut", "t", get_counter, 0, 0),
        SD_BUS_METHOD_WITH_ARGS("GetStatistics", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{st}", counters), get_statistics,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

/* The slots belong to the bus connection, and go with it. */
int veth_bus_add(Manager *m) {
        int r = sd_bus_add_object_manager(m->bus, NULL, BUS_PATH);

        if (r >= 0)
                r = sd_bus_add_fallback_vtable(m->bus, NULL, BUS_VETHS, BUS_INTERFACE, veth_vtable, find, m);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(m->bus, NULL, BUS_VETHS, enumerate, m);
        return r;
}

void veth_bus_announce(Manager *m, const VethInterface *before, const VethInterface *after) {
        char buffer[PATH_MAX_LENGTH];
        const char *path = path_of((after ?: before)->ifindex, buffer);

        /* An object that is gone cannot be asked for its interfaces any more, so its signal is made by name. */
        if (!after)
                (void) sd_bus_emit_interfaces_removed(m->bus, path, BUS_INTERFACE, NULL);
        else if (!before)
                (void) sd_bus_emit_object_added(m->bus, path);
        else
                (void) sd_bus_emit_properties_changed(m->bus, path, BUS_INTERFACE, "Interface", "PeerIfIndex",
                                                      "PeerNetNsId", "Addresses", "State", "Reason", "Hook", NULL);
}
