/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The counters of a reply. */

#include "counters.h"

void counters_done(Counters *counters) {
        free(counters->items);
        *counters = (Counters) {};
}

int counters_read(Counters *counters, sd_bus_message *message) {
        Counter counter;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{st}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_read(message, "{st}", &counter.name, &counter.value)) > 0) {
                Counter *grown;

                grown = reallocarray(counters->items, counters->n + 1, sizeof(Counter));
                if (!grown)
                        return -ENOMEM;
                counters->items = grown;
                counters->items[counters->n++] = counter;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(message);
}
