/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Owns everything. Requests only change what is wanted; manager_reconcile() alone makes it so. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bus-util.h"
#include "cgroup.h"
#include "datapath.h"
#include "policy-file.h"
#include "probe.h"
#include "veth.h"

typedef enum ShortcutState {
        SHORTCUT_ACTIVE,
        SHORTCUT_DISABLED,
        SHORTCUT_REFUSED,
        SHORTCUT_STATE_MAX,
} ShortcutState;

const char *shortcut_state_to_string(ShortcutState state);

typedef struct Manager {
        sd_event *event;
        sd_bus *bus;
        sd_bus_slot *vtable;
        BusQueue *calls;

        char *config;    /* NULL: the system's */
        char *state_dir;

        /* what is wanted */
        Policy *policy;

        /* what is there */
        Probes probes;
        CgroupTree *cgroups;
        SocketDatapath *socket; /* NULL when refused */
        Guard *guards[GUARD_PART_MAX];
        sd_event_source *guard_news;
        char *socket_refusal;   /* why the socket shortcut is refused; NULL when it is not */
        bool policy_applied;
        Veth *veth;
        sd_event_source *veth_timer; /* not NULL: a reconciliation of the veth shortcut is due */
        ShortcutState announced[SHORTCUT_MAX]; /* as the bus knows them */
        char *announced_reason[SHORTCUT_MAX];
} Manager;

int manager_new(const char *config, const char *state_dir, Manager **ret);
/* Lets go of everything; pins stay. Takes NULL. Returns NULL. */
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free);

/* Reads the configuration, tries the kernel, opens the bus and puts the policy in force. Logs what goes wrong. */
int manager_start(Manager *m);
/* Runs until SIGTERM or SIGINT, then stops the shortcuts; or until the bus is gone, an error, and then they go on. */
int manager_loop(Manager *m);

ShortcutState manager_shortcut_state(const Manager *m, Shortcut shortcut);
/* Why this kernel is refused a shortcut, whether or not anybody wants it; NULL when it is not. */
const char *manager_refusal(const Manager *m, Shortcut shortcut);
/* The same as a property: "" while the state is not SHORTCUT_REFUSED. */
const char *manager_shortcut_reason(const Manager *m, Shortcut shortcut);

/* Makes a new configuration effective, or changes nothing: -EINVAL with messages->errors, or another errno. */
int manager_reload(Manager *m, PolicyMessages *messages);
/* Turns shortcuts (bits of 1 << Shortcut) on or off at run time. -EOPNOTSUPP when one is refused, which *ret_refused
 * then names; nothing changes in that case. */
int manager_set_shortcuts(Manager *m, unsigned shortcuts, bool on, Shortcut *ret_refused);
