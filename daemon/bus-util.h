/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What every D-Bus interface of ours needs: who may do what, and when. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "util.h"

#define BUS_ACTION_MANAGE "org.meshcut1.manage"

typedef int (*bus_handler_t)(sd_bus_message *request, void *userdata, sd_bus_error *error);

/* Method calls that wait. What sd-bus answers by itself, such as a property, overtakes them: they are done when nothing else is
 * to do, but one at least every ten milliseconds; those of one caller in the order in which they came, and one of each caller
 * in turn. The calls of one that left are forgotten. */
typedef struct BusQueue BusQueue;

int bus_queue_new(sd_bus *bus, sd_event *event, BusQueue **ret);
/* Lets go of all that waits, without a reply: the bus connection is about to end. Takes NULL. Returns NULL. */
BusQueue *bus_queue_free(BusQueue *q);
DEFINE_CLEANUP(BusQueue *, bus_queue_free);

/* Has handler called if the sender of the request may do what the polkit action says (NULL: everyone may): at once for root, for
 * everyone else once polkit has said so, otherwise the sender gets org.freedesktop.DBus.Error.AccessDenied. The loop never
 * waits. To be returned from a method handler. */
int bus_queue_add(BusQueue *q, sd_bus_message *request, const char *action, bus_handler_t handler, void *userdata,
                  sd_bus_error *error);
