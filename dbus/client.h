/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The connection to meshcutd and the reading of its replies. Nothing here prints: a failure is returned, and
 * client_explain() finds the words for it once, in main(). */

#include <stddef.h>
#include <systemd/sd-bus.h>

#include "util.h"

#define MESHCUT_BUS_NAME "org.meshcut1"
#define MESHCUT_PATH "/org/meshcut1"
#define MESHCUT_MANAGER_INTERFACE "org.meshcut1.Manager"
#define MESHCUT_VETH_INTERFACE "org.meshcut1.Veth"

#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

typedef struct Client {
        sd_bus *bus;
        sd_bus_error error; /* of the last call that failed */
} Client;

int client_open(Client *client);
void client_done(Client *client);

int client_prepare(Client *client, const char *interface, const char *member, sd_bus_message **ret);
int client_send(Client *client, sd_bus_message *call, sd_bus_message **ret_reply);
int client_call(Client *client, const char *interface, const char *member, sd_bus_message **ret_reply);
int client_get_properties(Client *client, sd_bus_message **ret_reply);

/* Whether the last call failed because nobody has the service's name. */
bool client_is_not_running(const Client *client);
const char *client_explain(const Client *client, int error);

/* One entry of an a{sv} that the caller wants, and where in its structure the value goes. Strings stay in the
 * message, which must outlive the structure; a "read" of one's own handles the types that are not basic. */
typedef struct Field {
        const char *name;
        const char *signature;
        size_t offset;
        int (*read)(sd_bus_message *message, void *target);
} Field;

int client_read_fields(sd_bus_message *message, const Field *fields, size_t n_fields, void *target);
int client_read_strv(sd_bus_message *message, void *target);
