/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What every D-Bus interface of ours needs: who may do what. */

#include <systemd/sd-bus.h>

#include "util.h"

#define BUS_ACTION_MANAGE "org.meshcut1.manage"

typedef int (*bus_handler_t)(sd_bus_message *request, void *userdata, sd_bus_error *error);

/* Calls handler if the sender of the request may do what the polkit action says: at once for root, for everyone else
 * once polkit has said so, otherwise the sender gets org.freedesktop.DBus.Error.AccessDenied. The loop never waits.
 * To be returned from a method handler. */
int bus_authorize(sd_bus_message *request, const char *action, bus_handler_t handler, void *userdata,
                  sd_bus_error *error);
