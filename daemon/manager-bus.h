/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* org.meshcut1.Manager: authorise, call the manager, reply. */

#include "manager.h"

/* Opens the system bus, offers the object and takes the name. Logs what goes wrong. */
int manager_bus_connect(Manager *m);
/* Announces that the state of a shortcut changed, or the configuration. */
void manager_bus_announce_shortcut(Manager *m, Shortcut shortcut);
void manager_bus_announce_configuration(Manager *m);
