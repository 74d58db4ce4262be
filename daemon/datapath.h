/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The BPF programs and maps of the shortcuts, as the manager sees them. Nothing above uses BPF. */

#include "meshcut-abi.h"
#include "policy.h"
#include "util.h"

typedef struct SocketDatapath SocketDatapath;

/* Loads the programs and pins all that a running shortcut needs below state_dir, or adopts what an earlier daemon of
 * the same build pinned there; pins of another build are turned off and dropped first, and their connections run out
 * on TCP. Nothing is attached yet and a fresh shortcut is off.
 *
 * state_dir: a directory on a bpffs, made when missing. max_connections: of the policy; adopted maps keep their size.
 * *ret_adopted tells which it was. Returns -EMEDIUMTYPE when state_dir is not on a bpffs. */
int socket_datapath_new(const char *state_dir, uint32_t max_connections, SocketDatapath **ret, bool *ret_adopted);
/* Closes the handles; pins stay, so that the shortcut outlives a crash. Takes NULL. Returns NULL. */
SocketDatapath *socket_datapath_free(SocketDatapath *dp);
DEFINE_CLEANUP(SocketDatapath *, socket_datapath_free);

uint32_t socket_datapath_max_connections(const SocketDatapath *dp);

/* Attaches to a cgroup directory; moves there when attached elsewhere. Does nothing when it is attached there. */
int socket_datapath_attach(SocketDatapath *dp, const char *cgroup);

bool socket_datapath_is_attached(const SocketDatapath *dp);

/* Puts a policy in force, for running connections too. cgroups are all that exist now, with their paths. */
typedef struct CgroupPath {
        uint64_t id;
        const char *path;
} CgroupPath;
int socket_datapath_apply(SocketDatapath *dp, const Policy *policy, const CgroupPath *cgroups, size_t n_cgroups);
/* Follows a cgroup that appeared (path) or went away (path is NULL), for the policy that is in force. */
int socket_datapath_update_cgroup(SocketDatapath *dp, const Policy *policy, uint64_t id, const char *path);

int socket_datapath_set_on(SocketDatapath *dp, bool on);
/* Asks the map: "meshcutd --off" may have been there. */
bool socket_datapath_is_on(const SocketDatapath *dp);
/* What Enable() and Disable() said at run time; kept in the pins, so that a crash does not undo it. */
enum meshcut_override socket_datapath_get_override(const SocketDatapath *dp);
int socket_datapath_set_override(SocketDatapath *dp, enum meshcut_override override);

/* Counters of the rule with this index in the data path, all CPUs together; MESHCUT_RULE_NONE: of no rule. */
int socket_datapath_read_counters(const SocketDatapath *dp, uint32_t rule, struct meshcut_counters *ret);
/* The name of the rule that has this index, "" when none has. */
const char *socket_datapath_rule_name(const SocketDatapath *dp, uint32_t rule);

/* One enrolled pair. Connections whose server end is not established yet are not listed. */
typedef struct Connection {
        struct meshcut_end client, server;
} Connection;
/* At most limit pairs (0: all), the caller frees *ret. */
int socket_datapath_list(const SocketDatapath *dp, size_t limit, Connection **ret, size_t *ret_n);

/* Turns the shortcut off, detaches it and removes the pins: what is left in the kernel goes with the last enrolled
 * connection. */
int socket_datapath_stop(SocketDatapath *dp);

/* Turns off what is pinned below state_dir, whatever version it is of, and leaves it otherwise as it is. Returns 0 also
 * when nothing is there. */
int socket_datapath_pause(const char *state_dir);
/* Turns off and detaches what is pinned below state_dir, whatever version it is of, without a SocketDatapath.
 * Returns 0 also when nothing is there. */
int socket_datapath_off(const char *state_dir);

typedef struct VethDatapath VethDatapath;

typedef enum VethHook {
        VETH_HOOK_NONE,
        VETH_HOOK_TCX,    /* links, Linux 6.6 and later */
        VETH_HOOK_CLSACT, /* filters of a clsact qdisc, with a handle and priority of our own */
        VETH_HOOK_MAX,
} VethHook;

/* Loads and pins, or adopts, as socket_datapath_new() does. A fresh shortcut is off and attached nowhere. */
int veth_datapath_new(const char *state_dir, VethDatapath **ret, bool *ret_adopted);
VethDatapath *veth_datapath_free(VethDatapath *dp);
DEFINE_CLEANUP(VethDatapath *, veth_datapath_free);

/* Did an earlier daemon leave something in state_dir? */
bool veth_datapath_is_pinned(const char *state_dir);

/* Which hook this kernel offers. */
VethHook veth_datapath_hook(const VethDatapath *dp);

/* Is this a filter of ours, in any version? */
bool veth_datapath_owns_filter(const char *kind, uint32_t handle, uint16_t priority);
/* The id of a program at a tcx hook of the device that is not ours; 0: none, or no tcx in this kernel. */
uint32_t veth_datapath_foreign_tcx(const VethDatapath *dp, uint32_t ifindex);

/* Attaches both programs to a device, which is then a port. Does nothing where they are attached. */
int veth_datapath_attach(VethDatapath *dp, uint32_t ifindex);
/* Takes ours off, and nothing else, and forgets the port. has_filters: others use the device's clsact qdisc. A device that
 * is gone is fine. */
int veth_datapath_detach(VethDatapath *dp, uint32_t ifindex, bool has_filters);

typedef struct VethPort {
        uint32_t ifindex;
        struct meshcut_port port;
} VethPort;

typedef struct VethEndpoint {
        struct meshcut_endpoint_key key;
        struct meshcut_endpoint endpoint;
} VethEndpoint;

/* Makes the programs know these ports, which must be attached, and these addresses, and no others. */
int veth_datapath_apply(VethDatapath *dp, const VethPort *ports, size_t n_ports, const VethEndpoint *endpoints,
                        size_t n_endpoints);
/* The ports that the programs know, sorted by ifindex; the caller frees *ret. */
int veth_datapath_list_ports(const VethDatapath *dp, uint32_t **ret, size_t *ret_n);

/* Finds out where conntrack keeps its things, if that is not known and conntrack is there. It can be loaded late. */
int veth_datapath_find_conntrack(VethDatapath *dp);
/* On or off, and the mode. */
int veth_datapath_set(VethDatapath *dp, bool on, VethMode mode);
bool veth_datapath_is_on(const VethDatapath *dp);
bool veth_datapath_is_established(const VethDatapath *dp);
/* Can its entries be read? */
bool veth_datapath_knows_conntrack(const VethDatapath *dp);
/* Makes every flow show itself on the normal path before it is shortcut again. */
int veth_datapath_revoke_leases(VethDatapath *dp);

enum meshcut_override veth_datapath_get_override(const VethDatapath *dp);
int veth_datapath_set_override(VethDatapath *dp, enum meshcut_override override);

/* All CPUs together; ifindex 0: of all devices, those that are gone included. */
int veth_datapath_read_counters(const VethDatapath *dp, uint32_t ifindex, struct meshcut_veth_counters *ret);

/* Turns the shortcut off, takes all of ours off the devices and removes the pins. Nothing is left in the kernel. */
int veth_datapath_stop(VethDatapath *dp);
int veth_datapath_off(const char *state_dir);

/* Protects applications from what this kernel does differently for enrolled sockets; see bpf/guard.bpf.c. */
typedef struct Guard Guard;
typedef enum GuardPart {
        GUARD_SPLICE,
        GUARD_FIONREAD,
        GUARD_PART_MAX,
} GuardPart;

/* Loads and attaches one part, for a datapath: pinned beside it, replacing an earlier daemon's; or for NULL: by itself,
 * to be tried. */
int guard_new(SocketDatapath *dp, GuardPart part, Guard **ret);
/* Pins stay, so that the guard outlives a crash. Takes NULL. Returns NULL. */
Guard *guard_free(Guard *guard);
DEFINE_CLEANUP(Guard *, guard_free);
/* The functions of the kernel by which it works. */
const char *guard_hook(const Guard *guard);
/* Of a guard by itself: takes the socket with this cookie for an enrolled one. */
int guard_add_member(Guard *guard, uint64_t cookie);

/* What the guard has learnt: a descriptor to poll, and the call to make then. */
typedef void (*guard_news_t)(const struct meshcut_guard_event *event, void *userdata);
int guard_fd(const Guard *guard);
int guard_dispatch(Guard *guard, guard_news_t news, void *userdata);
