/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Many calls to org.meshcut1 at once, and how long somebody else waits for a property meanwhile.
 *
 *   flood [--calls N] [--connections C] [--names N] [--limit N] METHOD
 *   flood --leave [...] METHOD    closes each connection without waiting for a reply
 *
 * N calls altogether over C connections: a bus lets each have 128 under way. Enable and Disable get an array of --names names.
 * Output: "flood replies=N errors=N error=NAME pending=N reads=N p90_ms=M worst_ms=M bus_ms=M": NAME is that of the last
 * error; pending is how many calls had no reply yet when a property was answered, at the most; nine of ten reads took at most
 * p90_ms, and bus_ms is what the bus itself needed for an answer of its own, at the most. The bus is that of
 * DBUS_SYSTEM_BUS_ADDRESS.
 */

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "util.h"

#define SERVICE "org.meshcut1"
#define OBJECT "/org/meshcut1"
#define MANAGER "org.meshcut1.Manager"
#define TIMEOUT_USEC 100000000
#define READS_MAX 100000

static const struct {
        const char *name, *interface, *arguments;
} methods[] = {
        { "Enable", MANAGER, "as" },
        { "Disable", MANAGER, "as" },
        { "Reload", MANAGER, "" },
        { "GetStatistics", MANAGER, "" },
        { "GetRuleStatistics", MANAGER, "" },
        { "ListConnections", MANAGER, "u" },
        { "GetManagedObjects", "org.freedesktop.DBus.ObjectManager", "" },
        { "Introspect", "org.freedesktop.DBus.Introspectable", "" },
        { "GetAll", "org.freedesktop.DBus.Properties", "s" },
};

static atomic_uint pending;
static atomic_bool over;
static unsigned replies, errors;
static char last_error[256] = "none";
static double ms[READS_MAX], bus_ms;
static unsigned reads, most_pending;

static void check(int r, const char *what) {
        if (r < 0)
                die("%s: %s", what, strerror(-r));
}

/* What the bus itself needs. */
static void ask_bus(sd_bus *bus) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t begun = now_ns();
        double needed;

        if (sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", &error, NULL,
                               "") < 0)
                die("the bus does not answer: %s: %s", error.name, error.message);
        needed = (now_ns() - begun) / 1e6;
        if (needed > bus_ms)
                bus_ms = needed;
}

static void read_property(sd_bus *bus) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *text = NULL;
        uint64_t begun = now_ns();
        unsigned n;

        if (sd_bus_get_property_string(bus, SERVICE, OBJECT, MANAGER, "SocketShortcut", &error, &text) < 0)
                die("no property: %s: %s", error.name, error.message);
        free(text);
        if (reads < READS_MAX)
                ms[reads++] = (now_ns() - begun) / 1e6;
        n = atomic_load(&pending);
        if (n > most_pending)
                most_pending = n;
}

static int compare(const void *a, const void *b) {
        const double *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static void *read_properties(void *userdata) {
        sd_bus *bus = userdata;

        while (!atomic_load(&over)) {
                read_property(bus);
                ask_bus(bus);
                sleep_us(1000);
        }
        return NULL;
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *unused) {
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        replies++;
        if (error) {
                errors++;
                snprintf(last_error, sizeof(last_error), "%s", error->name);
        }
        if (atomic_fetch_sub(&pending, 1) == 1)
                sd_event_exit(userdata, 0);
        return 0;
}

static sd_bus_message *make_call(sd_bus *bus, size_t method, unsigned names, uint32_t limit) {
        const char *arguments = methods[method].arguments;
        sd_bus_message *call;

        check(sd_bus_message_new_method_call(bus, &call, SERVICE, OBJECT, methods[method].interface, methods[method].name), "call");
        /* For polkit: somebody could be asked. */
        check(sd_bus_message_set_allow_interactive_authorization(call, true), "call");
        if (strcmp(arguments, "u") == 0)
                check(sd_bus_message_append(call, "u", limit), "limit");
        if (strcmp(arguments, "s") == 0)
                check(sd_bus_message_append(call, "s", MANAGER), "interface");
        if (strcmp(arguments, "as") != 0)
                return call;
        check(sd_bus_message_open_container(call, 'a', "s"), "names");
        for (unsigned i = 0; i < names; i++)
                check(sd_bus_message_append(call, "s", "socket"), "names");
        check(sd_bus_message_close_container(call), "names");
        return call;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "calls",       required_argument, NULL, 'n' },
                { "connections", required_argument, NULL, 'c' },
                { "names",       required_argument, NULL, 'a' },
                { "limit",       required_argument, NULL, 'l' },
                { "leave",       no_argument,       NULL, 'q' },
                {}
        };
        unsigned calls = 1000, connections = 10, names = 1;
        uint32_t limit = UINT32_MAX;
        size_t method = 0;
        sd_event *event;
        sd_bus *reader;
        pthread_t thread;
        bool leave = false;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'n': calls = atoi(optarg); break;
                case 'c': connections = atoi(optarg); break;
                case 'a': names = atoi(optarg); break;
                case 'l': limit = strtoul(optarg, NULL, 0); break;
                case 'q': leave = true; break;
                default: return EXIT_FAILURE;
                }
        if (optind + 1 != argc || connections == 0)
                die("METHOD is needed");
        while (method < sizeof(methods) / sizeof(*methods) && strcmp(methods[method].name, argv[optind]) != 0)
                method++;
        if (method == sizeof(methods) / sizeof(*methods))
                die("no such method: %s", argv[optind]);

        check(sd_event_new(&event), "event loop");
        check(sd_bus_open_system(&reader), "bus");
        read_property(reader);
        reads = 0;
        if (pthread_create(&thread, NULL, read_properties, reader) != 0)
                die("cannot start a thread");

        for (unsigned i = 0; i < connections; i++) {
                unsigned of_this = calls / connections + (i < calls % connections);
                sd_bus *bus;

                check(sd_bus_open_system(&bus), "bus");
                for (unsigned k = 0; k < of_this; k++) {
                        sd_bus_message *call = make_call(bus, method, names, limit);

                        check(sd_bus_call_async(bus, NULL, call, on_reply, event, TIMEOUT_USEC), "call");
                        sd_bus_message_unref(call);
                }
                check(sd_bus_flush(bus), "flush");
                if (!leave)
                        atomic_fetch_add(&pending, of_this);
                if (leave)
                        sd_bus_close_unref(bus);
                else
                        check(sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL), "event loop");
        }
        if (!leave && calls > 0)
                check(sd_event_loop(event), "event loop");
        atomic_store(&over, true);
        pthread_join(thread, NULL);
        qsort(ms, reads, sizeof(*ms), compare);
        printf("flood replies=%u errors=%u error=%s pending=%u reads=%u p90_ms=%.1f worst_ms=%.1f bus_ms=%.1f\n", replies, errors,
               last_error, most_pending, reads, ms[reads * 9 / 10], ms[reads > 0 ? reads - 1 : 0], bus_ms);
        return EXIT_SUCCESS;
}
