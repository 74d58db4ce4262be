/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * polkit's place on a private bus: answers every question with the same word.
 *
 *   polkit yes|no|never    never: does not answer at all
 *
 * Prints "asked ACTION INTERACTIVE" for each question.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "util.h"

static int check_authorization(sd_bus_message *request, void *userdata, sd_bus_error *error) {
        const char *answer = userdata, *action;
        uint32_t flags;
        int r;

        r = sd_bus_message_skip(request, "(sa{sv})");
        if (r >= 0)
                r = sd_bus_message_read(request, "s", &action);
        if (r >= 0)
                r = sd_bus_message_skip(request, "a{ss}");
        if (r >= 0)
                r = sd_bus_message_read(request, "u", &flags);
        if (r < 0)
                return r;
        printf("asked %s %s\n", action, flags & 1 ? "interactive" : "silent");
        fflush(stdout);
        if (strcmp(answer, "never") == 0)
                return 1;
        return sd_bus_reply_method_return(request, "(bba{ss})", strcmp(answer, "yes") == 0, 0, 0);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", check_authorization, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int main(int argc, char *argv[]) {
        sd_bus *bus;
        int r;

        if (argc != 2)
                die("yes, no or never?");
        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                             "org.freedesktop.PolicyKit1.Authority", vtable, argv[1]);
        if (r >= 0)
                r = sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0);
        while (r >= 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        die("bus: %s", strerror(-r));
}
