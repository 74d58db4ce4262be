/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* rtnetlink from the host's network namespace: what devices and addresses there are, here and inside the namespaces
 * that the host's veths lead to, and what changes. Knows no policy and no BPF. The only user of netlink headers. */

#include <net/if.h>
#include <systemd/sd-event.h>

#include "util.h"

/* Where a device is: the host's own namespace, or the id that the host's namespace has for another one. */
#define NSID_HOST (-1)
#define NSID_UNKNOWN (-2)

typedef struct RtnlLink {
        int nsid;
        uint32_t ifindex;
        char name[IFNAMSIZ];
        char kind[IFNAMSIZ];  /* "veth", "bridge", "vxlan", ...; "" for hardware and lo */
        char qdisc[IFNAMSIZ]; /* the root qdisc */
        bool up;              /* IFF_UP */
        bool ethernet;        /* ARPHRD_ETHER, with an address of 6 bytes */
        bool xdp;             /* an XDP program in the driver is attached (one by a BPF link gives no event) */
        uint8_t address[6];
        uint32_t mtu;
        uint32_t master;      /* ifindex; 0: none */
        uint32_t peer;        /* IFLA_LINK, an ifindex in peer_nsid; 0: none */
        /* That of the device itself when IFLA_LINK_NETNSID is not there; NSID_UNKNOWN in an event of another namespace,
         * whose ids are not the host's, and while a namespace is torn down. */
        int peer_nsid;
        uint16_t vlan_protocol; /* of a bridge that filters VLANs: the EtherType of their tags; 0: it does not */
} RtnlLink;

typedef struct RtnlAddress {
        int nsid;
        uint32_t ifindex;
        uint8_t address[16]; /* IPv4 is held IPv4-mapped */
        uint8_t remote[16];  /* the other end of a point-to-point device, else the address once more; with the prefix */
        uint8_t prefix;      /* it tells apart what has the same address on the same device */
        bool usable;         /* neither tentative nor failed in duplicate address detection */
} RtnlAddress;

/* What is heard and what a dump gives, one call for each. */
typedef struct RtnlHandlers {
        void (*link)(const RtnlLink *link, bool removed, void *userdata);
        void (*address)(const RtnlAddress *address, bool removed, void *userdata);
        /* Forwarding between ports of a bridge may have changed (STP, VLANs, isolation): ifindex is the port's. */
        void (*bridge_port)(uint32_t ifindex, void *userdata);
        /* A filter or qdisc of this device of the host came, went or changed. 0: in a block that devices share. */
        void (*filter)(uint32_t ifindex, void *userdata);
        /* The id stands for no namespace any more. What is heard of it from now on is of another one. */
        void (*nsid)(int nsid, void *userdata);
        /* Events were lost: what is known has to be asked for again. */
        void (*lost)(void *userdata);
} RtnlHandlers;

typedef struct Rtnl Rtnl;

/* Opens the sockets and begins to listen; handlers run from the event loop and from the questions below, and must not
 * ask themselves (-EBUSY). Needs CAP_NET_ADMIN to ask about other namespaces, and CAP_NET_BROADCAST to hear of them
 * (else -EPERM). -EOPNOTSUPP when the kernel has no NETLINK_GET_STRICT_CHK, without which it answers questions about
 * other namespaces with the host's own devices. handlers must live as long. */
int rtnl_new(sd_event *event, const RtnlHandlers *handlers, void *userdata, Rtnl **ret);
Rtnl *rtnl_free(Rtnl *rtnl);
DEFINE_CLEANUP(Rtnl *, rtnl_free);

/* Does the kernel check what is asked, as rtnl_new() wants it? 0, or a negative errno. */
int rtnl_try_strict(void);

/* Ask for all devices of a namespace, or all their addresses; the answers go to the handlers before this returns.
 * -EPERM when the namespace belongs to a user namespace that we have no power over, -ENOENT when the id stands for
 * none, -EINTR when there was a change under each of several tries: what was found is right, but may not be all. */
int rtnl_dump_links(Rtnl *rtnl, int nsid);
int rtnl_dump_addresses(Rtnl *rtnl, int nsid);
/* One device. -ENODEV when it is not there. */
int rtnl_get_link(Rtnl *rtnl, int nsid, uint32_t ifindex);
int rtnl_get_addresses(Rtnl *rtnl, int nsid, uint32_t ifindex);

/* Which filters hang at the ingress and egress of a device of the host (those of a clsact or ingress qdisc). Calls each
 * with the id of the BPF program, 0 for a filter of another kind, until it returns a negative errno. A device that is
 * gone has none. When a change comes in between some can be given twice. */
typedef int (*rtnl_filter_t)(bool egress, const char *kind, uint32_t program, uint32_t handle, uint16_t priority,
                             void *userdata);
int rtnl_dump_filters(Rtnl *rtnl, uint32_t ifindex, rtnl_filter_t each, void *userdata);
