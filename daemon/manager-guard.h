/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Starts what the probes found to work of the guard, and tells the journal what it learns. */

#include "manager.h"

/* Before the policy is applied: probation goes by whether somebody watches. Does nothing when it runs already. */
int manager_guard_start(Manager *m);
void manager_guard_stop(Manager *m);
