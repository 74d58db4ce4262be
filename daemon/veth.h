/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The veth shortcut: follows the devices, and makes the data path what the policy wants of them. */

#include "datapath.h"
#include "link.h"

/* A device as it was left by the last reconciliation, for those who look on. */
typedef struct Veth Veth;

typedef struct VethInterface {
        const Veth *owner;
        uint32_t ifindex, peer_ifindex;
        int peer_nsid; /* NSID_HOST, or the host's id for the peer's namespace */
        char name[IFNAMSIZ];
        bool selected, attached;
        bool bridged;
        bool foreign_tcx; /* left because of a tcx program of somebody else's */
        VethHook hook;
        char *reason; /* why it is not attached, or what is to be known of it; NULL: nothing */
        uint8_t (*addresses)[16];
        size_t n_addresses;
} VethInterface;

/* What happened to an interface: before is NULL for a new one, after for one that is gone. */
typedef void (*veth_changed_t)(const VethInterface *before, const VethInterface *after, void *userdata);
/* Something has to be reconciled. Called at most once before the next veth_reconcile(). */
typedef void (*veth_dirty_t)(void *userdata);

int veth_new(sd_event *event, const char *state_dir, veth_dirty_t dirty, veth_changed_t changed, void *userdata,
             Veth **ret);
/* Pins and programs stay, so that the shortcut outlives a crash. Takes NULL. Returns NULL. */
Veth *veth_free(Veth *veth);
DEFINE_CLEANUP(Veth *, veth_free);

/* Makes what is there what is wanted. Where the shortcut is refused nothing is attached, and veth_refusal() says why. */
int veth_reconcile(Veth *veth, const Policy *policy);

/* Does the policy, or Enable() and Disable() before it, want the shortcut? */
bool veth_is_wanted(const Veth *veth, const Policy *policy);
bool veth_is_on(const Veth *veth);
/* Why the shortcut cannot be on here, whether or not anybody wants it; NULL when it can. */
const char *veth_refusal(const Veth *veth);
/* Finds out anew, for a policy. Returns -ENOMEM only. */
int veth_check(Veth *veth, const Policy *policy);

/* -EOPNOTSUPP when the programs cannot be had. */
int veth_set_override(Veth *veth, const Policy *policy, enum meshcut_override override);

/* Sorted by ifindex. Valid until the next reconciliation. */
const VethInterface *veth_list(const Veth *veth, size_t *ret_n);
/* NULL when there is none. */
const VethInterface *veth_find(const Veth *veth, uint32_t ifindex);

/* Of one device, or of all for ifindex 0, those that are gone included. */
int veth_read_counters(const Veth *veth, uint32_t ifindex, struct meshcut_veth_counters *ret);

/* Off, detached, unpinned. */
int veth_stop(Veth *veth);
