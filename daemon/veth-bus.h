/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "manager.h"

/* One object for each veth of the host below /org/meshcut1/veth, and the manager of these objects. */
int veth_bus_add(Manager *m);

/* Signals for what happened to an interface, as veth_changed_t tells of it. */
void veth_bus_announce(Manager *m, const VethInterface *before, const VethInterface *after);
