// SPDX-License-Identifier: GPL-2.0-or-later

#include "bus-util.h"

/* Somebody may type a password meanwhile. */
#define POLKIT_TIMEOUT_USEC (5 * 60 * USEC_PER_SEC)

typedef struct Authorization {
        sd_bus_message *request;
        bus_handler_t handler;
        void *userdata;
} Authorization;

static void authorization_free(void *userdata) {
        Authorization *a = userdata;

        sd_bus_message_unref(a->request);
        free(a);
}

static int deny(sd_bus_error *error) {
        return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "Not authorized (polkit action " BUS_ACTION_MANAGE
                                                                   ")");
}

static int decide(sd_bus_message *reply, Authorization *a, sd_bus_error *error) {
        int authorized, challenge, r;

        /* No polkit on the bus, or it failed: nobody but root. */
        if (sd_bus_message_is_method_error(reply, NULL))
                return deny(error);
        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
        if (r < 0 || !authorized)
                return deny(error);
        return a->handler(a->request, a->userdata, error);
}

static int on_polkit_reply(sd_bus_message *reply, void *userdata, sd_bus_error *unused) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Authorization *a = userdata;
        int r = decide(reply, a, &error);

        /* A handler replies by itself when all goes well. */
        if (sd_bus_error_is_set(&error))
                return sd_bus_reply_method_error(a->request, &error);
        if (r < 0)
                return sd_bus_reply_method_errno(a->request, r, NULL);
        return 0;
}

static int ask_polkit(sd_bus_message *request, const char *action, Authorization *a) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *question = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        sd_bus *bus = sd_bus_message_get_bus(request);
        int r, interactive = sd_bus_message_get_allow_interactive_authorization(request) > 0;

        r = sd_bus_message_new_method_call(bus, &question, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(question, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(request), action, 0, interactive ? 1U : 0U, "");
        if (r < 0)
                return r;
        r = sd_bus_call_async(bus, &slot, question, on_polkit_reply, a, POLKIT_TIMEOUT_USEC);
        if (r < 0)
                return r;
        r = sd_bus_slot_set_destroy_callback(slot, authorization_free);
        if (r < 0)
                return r;
        /* From here the slot goes with the reply, and takes the authorization with it. */
        return sd_bus_slot_set_floating(slot, true);
}

int bus_authorize(sd_bus_message *request, const char *action, bus_handler_t handler, void *userdata,
                  sd_bus_error *error) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        Authorization *a;
        uid_t uid;
        int r;

        r = sd_bus_query_sender_creds(request, SD_BUS_CREDS_EUID, &creds);
        if (r < 0)
                return r;
        r = sd_bus_creds_get_euid(creds, &uid);
        if (r < 0)
                return r;
        if (uid == 0)
                return handler(request, userdata, error);

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        *a = (Authorization){ sd_bus_message_ref(request), handler, userdata };
        r = ask_polkit(request, action, a);
        if (r < 0) {
                authorization_free(a);
                return r;
        }
        return 1;
}
