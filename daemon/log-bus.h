/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The log as org.freedesktop.LogControl1: "systemctl service-log-level meshcut debug". */

#include <systemd/sd-bus.h>

#include "util.h"

/* Adds the object to a bus; it goes with the bus. */
int log_bus_add(sd_bus *bus);
