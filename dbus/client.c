/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The connection to meshcutd and the reading of its replies. */

#include "client.h"

/* A reload loads and probes programs, and a person may have to type a password first: the 25 s of sd-bus are few. */
#define CALL_TIMEOUT_USEC (5 * 60 * USEC_PER_SEC)

/* Connects to the system bus, or to the one that DBUS_SYSTEM_BUS_ADDRESS names. */
int client_open(Client *client) {
        return sd_bus_open_system(&client->bus);
}

void client_done(Client *client) {
        sd_bus_error_free(&client->error);
        client->bus = sd_bus_flush_close_unref(client->bus);
}

/* Makes a method call that still takes its arguments; client_send() sends it. */
int client_prepare(Client *client, const char *interface, const char *member, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = sd_bus_message_new_method_call(client->bus, &call, MESHCUT_BUS_NAME, MESHCUT_PATH, interface, member);
        if (r < 0)
                return r;

        /* To ask for the status of a stopped service is no reason to start it. */
        r = sd_bus_message_set_auto_start(call, false);
        if (r < 0)
                return r;

        r = sd_bus_message_set_allow_interactive_authorization(call, true);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(call);
        return 0;
}

/* Sends a call and waits for the reply, which the caller may decline with NULL. */
int client_send(Client *client, sd_bus_message *call, sd_bus_message **ret_reply) {
        sd_bus_error_free(&client->error);
        return sd_bus_call(client->bus, call, CALL_TIMEOUT_USEC, &client->error, ret_reply);
}

/* Calls a method without arguments. */
int client_call(Client *client, const char *interface, const char *member, sd_bus_message **ret_reply) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = client_prepare(client, interface, member, &call);
        if (r < 0)
                return r;

        return client_send(client, call, ret_reply);
}

/* Gets all properties of the manager, as a{sv}. */
int client_get_properties(Client *client, sd_bus_message **ret_reply) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = client_prepare(client, "org.freedesktop.DBus.Properties", "GetAll", &call);
        if (r < 0)
                return r;

        r = sd_bus_message_append(call, "s", MESHCUT_MANAGER_INTERFACE);
        if (r < 0)
                return r;

        return client_send(client, call, ret_reply);
}

bool client_is_not_running(const Client *client) {
        return sd_bus_error_has_name(&client->error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
               sd_bus_error_has_name(&client->error, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
}

/* What to tell a person about a failure: one line, or as many as the daemon has found errors in its configuration. */
const char *client_explain(const Client *client, int error) {
        static const char permission_denied[] =
                "Permission denied: be root, or be allowed org.meshcut1.manage by polkit";
        static const struct {
                const char *name, *text;
        } explanations[] = {
                { SD_BUS_ERROR_NO_REPLY, "meshcutd did not answer: systemctl status meshcut" },
                { SD_BUS_ERROR_ACCESS_DENIED, permission_denied },
                { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, permission_denied },
        };

        if (!client->bus)
                return "Cannot connect to the system bus";

        if (client_is_not_running(client))
                return "meshcutd is not running: systemctl start meshcut";

        for (size_t i = 0; i < ELEMENTSOF(explanations); i++)
                if (sd_bus_error_has_name(&client->error, explanations[i].name))
                        return explanations[i].text;

        if (!isempty(client->error.message))
                return client->error.message;

        return error == -EBADMSG || error == -ENXIO ? "meshcutd sent a reply that this meshcutctl does not understand"
                                                    : strerror(-error);
}

/* Reads the value inside a variant, whose signature is the field's. */
static int read_field(sd_bus_message *message, const Field *field, void *target) {
        void *value = (uint8_t *) target + field->offset;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, field->signature);
        if (r < 0)
                return r;

        r = field->read ? field->read(message, value)
                        : sd_bus_message_read_basic(message, field->signature[0], value);
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(message);
}

static const Field *find_field(const Field *fields, size_t n_fields, const char *name) {
        for (size_t i = 0; i < n_fields; i++)
                if (streq(fields[i].name, name))
                        return fields + i;
        return NULL;
}

/* Reads an a{sv} into a structure. What the caller did not ask for is skipped, so that a newer daemon may say more;
 * what the daemon does not say stays as it was. */
int client_read_fields(sd_bus_message *message, const Field *fields, size_t n_fields, void *target) {
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                const Field *field;
                const char *name;

                r = sd_bus_message_read_basic(message, SD_BUS_TYPE_STRING, &name);
                if (r < 0)
                        return r;

                field = find_field(fields, n_fields, name);
                r = field ? read_field(message, field, target) : sd_bus_message_skip(message, "v");
                if (r < 0)
                        return r;

                r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(message);
}

/* A Field's read for "as". The caller frees the strings. */
int client_read_strv(sd_bus_message *message, void *target) {
        return sd_bus_message_read_strv(message, target);
}
