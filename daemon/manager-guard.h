/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Starts what the probes found to work of the guard, and tells the journal what it learns. */

#include "manager.h"

/* By the policy in m, before it is applied: probation goes by whether somebody watches. Stops what the policy does not want, and
 * lets be what runs already. */
int manager_guard_start(Manager *m);
void manager_guard_stop(Manager *m);
