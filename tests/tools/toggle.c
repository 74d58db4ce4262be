/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Calls Enable and Disable of org.meshcut1 at random moments, for --seconds, at most --rate calls a second, and leaves
 * the shortcut enabled. Any error is fatal. The bus is that of DBUS_SYSTEM_BUS_ADDRESS.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "util.h"

static void call(sd_bus *bus, const char *method, const char *shortcut) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(bus, "org.meshcut1", "/org/meshcut1", "org.meshcut1.Manager", method, &error, NULL,
                               "as", 1, shortcut);
        if (r < 0)
                die("%s: %s: %s", method, error.name ?: strerror(-r), error.message ?: "");
        sd_bus_error_free(&error);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "seconds",  required_argument, NULL, 't' },
                { "rate",     required_argument, NULL, 'r' },
                { "seed",     required_argument, NULL, 's' },
                { "shortcut", required_argument, NULL, 'n' },
                {}
        };
        const char *shortcut = "socket";
        uint64_t seed = 1, end;
        double seconds = 10, rate = 100;
        unsigned calls = 0;
        sd_bus *bus = NULL;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 't': seconds = atof(optarg); break;
                case 'r': rate = atof(optarg); break;
                case 's': seed = strtoull(optarg, NULL, 0); break;
                case 'n': shortcut = optarg; break;
                default: return EXIT_FAILURE;
                }
        if (rate <= 0)
                die("--rate must be positive");

        r = sd_bus_open_system(&bus);
        if (r < 0)
                die("cannot open the bus: %s", strerror(-r));

        for (end = now_ns() + (uint64_t) (seconds * 1e9); now_ns() < end; calls++) {
                /* Mostly short phases, now and then a long one, so that connections meet both. */
                uint64_t gap = 1000000 / rate, x = random_next(&seed);

                call(bus, x & 1 ? "Enable" : "Disable", shortcut);
                sleep_us(gap + (x >> 8) % (gap * ((x >> 1) % 16 == 0 ? 50 : 2) + 1));
        }
        call(bus, "Enable", shortcut);
        printf("toggle calls=%u\n", calls + 1);
        sd_bus_flush_close_unref(bus);
        return EXIT_SUCCESS;
}
