/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Leases: what the normal path was seen to do with a flow. The egress of a device sees a packet after everything that the
 * host has to say about it - firewall, conntrack, NAT, routing, bridging - and only packets that took that way: those
 * that bpf_redirect_peer() moves do not come by. A packet that arrives there grants its flow a lease for a second.
 * So whatever the host refuses never gets one, and what it refuses from now on loses it. */

#include "conntrack.bpf.h"

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct meshcut_veth_control);
} veth_control SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16384);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, struct meshcut_port);
} ports SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, struct meshcut_endpoint_key);
        __type(value, struct meshcut_endpoint);
} endpoints SEC(".maps");

/* LRU: a flow that is pushed out takes the normal path once. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 65536);
        __type(key, struct meshcut_flow_key);
        __type(value, struct meshcut_flow);
} flows SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, MESHCUT_VETH_SLOTS);
        __type(key, __u32);
        __type(value, struct meshcut_veth_traffic);
} veth_traffic SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
        __uint(max_entries, 16384);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u32);
        __type(value, struct meshcut_veth_passed);
} veth_passed SEC(".maps");

/* Not read by programs. */
struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct meshcut_veth_about);
} veth_about SEC(".maps");

/* A redirected packet does come by the egress of an uplink. It must not renew the lease that let it pass: the ingress marks
 * it (tc_index), and the egress need not look at it at all. */
#define MOVED 0x6d63
/* A kernel without CONFIG_NET_SCHED has no tc_index. So a lease ends for the way in this much earlier, besides, than for
 * the way out: more than two ticks of the coarse clock. */
#define LEASE_MARGIN_NS 10000000ULL

static __always_inline struct meshcut_veth_control *veth_control_get(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&veth_control, &zero);
}

static __always_inline struct meshcut_endpoint *endpoint_get(__u32 domain, const __u8 *address) {
        struct meshcut_endpoint_key key = { .domain = domain };

        __builtin_memcpy(key.address, address, sizeof(key.address));
        return bpf_map_lookup_elem(&endpoints, &key);
}

static __always_inline void flow_forget_reverse(const struct packet *p, __u32 in_ifindex) {
        struct meshcut_flow_key key = { .in_ifindex = in_ifindex, .protocol = p->key.protocol };

        __builtin_memcpy(key.source, p->key.destination, sizeof(key.source));
        __builtin_memcpy(key.destination, p->key.source, sizeof(key.destination));
        key.source_port = p->key.destination_port;
        key.destination_port = p->key.source_port;
        (void) bpf_map_delete_elem(&flows, &key);
}

/* By which device of ours the packet came in: fills in all that a lease says of that side. 0: by none, or with a source
 * address that is not that container's. The kernel remembers the last device that took the packet in (skb_iif): the veth
 * itself if it was bridged, its bridge or VRF if it was routed. */
static __always_inline __u32 find_origin(__u32 iif, const struct meshcut_port *out, const struct packet *p,
                                         struct meshcut_flow *lease) {
        struct meshcut_port *in = bpf_map_lookup_elem(&ports, &iif);
        bool bridged = in && (in->flags & MESHCUT_PORT_BRIDGED);
        struct meshcut_endpoint *source;
        __u32 ifindex = iif;

        if (bridged && (!(out->flags & MESHCUT_PORT_BRIDGED) || in->domain != out->domain))
                return 0;
        if (in && (in->flags & MESHCUT_PORT_UPLINK)) {
                if (out->flags & MESHCUT_PORT_UPLINK)
                        return 0;
        } else {
                source = endpoint_get(in ? in->domain : iif, p->key.source);
                if (!source || (in && source->ifindex != iif))
                        return 0;
                ifindex = source->ifindex;
                in = bpf_map_lookup_elem(&ports, &ifindex);
                if (!in)
                        return 0;
        }
        lease->slot = in->slot;
        lease->l3_ifindex = in->l3_ifindex;
        lease->flags = bridged ? 0 : MESHCUT_FLOW_ROUTED;
        __builtin_memcpy(lease->to, bridged ? p->to : in->gateway, sizeof(lease->to));
        return ifindex;
}

/* Is the packet on its way to a container, whose address it bears, and not flooded to all ports? */
static __always_inline bool arrives(__u32 ifindex, const struct meshcut_port *out, const struct packet *p) {
        struct meshcut_endpoint *destination;

        if (out->flags & MESHCUT_PORT_UPLINK)
                return !(out->flags & MESHCUT_PORT_BRIDGED);
        destination = endpoint_get(out->domain, p->key.destination);
        return destination && destination->ifindex == ifindex && mac_equal(destination->mac, p->to);
}

/* What the host does to a packet that the shortcut does not do: it routes by a mark, or queues by it, or it has checked that
 * the packet came in by IPsec. */
static __always_inline bool is_special(struct __sk_buff *skb) {
        const struct sk_buff *kernel = (const struct sk_buff *) skb;

        if (skb->mark != 0)
                return true;
        return bpf_core_enum_value_exists(enum skb_ext_id, SKB_EXT_SEC_PATH) &&
               bpf_core_field_exists(kernel->active_extensions) &&
               (BPF_CORE_READ(kernel, active_extensions) &
                (1U << bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH)));
}

/* For every packet that leaves by a device of ours. */
static __always_inline void lease_observe(struct __sk_buff *skb) {
        struct meshcut_veth_control *control = veth_control_get();
        __u32 out_ifindex = skb->ifindex, iif = skb->ingress_ifindex, mtu = 0;
        struct meshcut_flow lease = {}, *known;
        struct meshcut_port *out;
        struct packet p = {};
        __u64 now, early;

        /* The host's own packets came in by no device. */
        if (!control || !control->on || iif == 0)
                return;
        out = bpf_map_lookup_elem(&ports, &out_ifindex);
        if (!out || packet_read(skb, &p) != 0 || (p.is_control && !p.ends))
                return;
        p.key.in_ifindex = find_origin(iif, out, &p, &lease);
        if (p.key.in_ifindex == 0)
                return;
        if (p.ends) {
                (void) bpf_map_delete_elem(&flows, &p.key);
                flow_forget_reverse(&p, out_ifindex);
                return;
        }
        now = bpf_ktime_get_coarse_ns();
        early = out->flags & MESHCUT_PORT_UPLINK ? 0 : LEASE_MARGIN_NS;
        known = bpf_map_lookup_elem(&flows, &p.key);
        if (known && known->generation == control->generation && known->out_ifindex == out_ifindex &&
            now + early < known->until_ns)
                return;
        if (!arrives(out_ifindex, out, &p))
                return;

        lease.key = p.key;
        lease.generation = control->generation;
        lease.refusal = is_special(skb) ? MESHCUT_VETH_PASSED_ROUTE + 1
                                        : conntrack_refusal(skb, control, p.key.protocol);
        /* What conntrack thinks of a young flow changes with the next packets. */
        lease.until_ns = lease.refusal == MESHCUT_VETH_PASSED_UNASSURED + 1 ? now : now + control->lease_ns;
        if (out->flags & MESHCUT_PORT_UPLINK)
                lease.flags |= MESHCUT_FLOW_UPLINK;
        lease.out_ifindex = out_ifindex;
        (void) bpf_check_mtu(skb, out_ifindex, &mtu, 0, 0);
        lease.mtu = mtu;
        __builtin_memcpy(lease.mac, p.to, sizeof(lease.mac));
        lease.tos = p.tos;
        lease.ttl = p.ttl;
        (void) bpf_map_update_elem(&flows, &p.key, &lease, BPF_ANY);
}
