// SPDX-License-Identifier: GPL-2.0-or-later

/* The veth shortcut. At the ingress of a device a packet of a flow that has a lease is moved straight into the container
 * that it is for, or to the neighbour behind an uplink; at the egress the normal path's packets grant leases. */

#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "meshcut-abi.h"

#include "packet.bpf.h"

#include "leases.bpf.h"

#define AF_INET 2
#define AF_INET6 10

char _license[] SEC("license") = "GPL";

/* Where a packet goes, once all has been looked up. */
struct way {
        __u32 ifindex;
        bool uplink;
        struct bpf_fib_lookup fib; /* of a routed packet */
};

/* Bytes of one packet on the wire: of a GSO packet one segment, as a router would see it. */
static __always_inline __u16 wire_length(struct __sk_buff *skb, const struct packet *p) {
        return skb->gso_size ? p->headers + skb->gso_size : p->length;
}

static __always_inline int find_bridged(struct __sk_buff *skb, const struct meshcut_port *in, const struct packet *p,
                                        struct way *ret) {
        struct meshcut_endpoint *destination;
        __u32 mtu = 0;

        if (!(in->flags & MESHCUT_PORT_BRIDGED))
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        destination = endpoint_get(in->domain, p->destination);
        if (!destination)
                return MESHCUT_VETH_PASSED_ADDRESS + 1;
        if (!mac_equal(destination->mac, p->to) || destination->ifindex == skb->ifindex)
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        if (bpf_check_mtu(skb, destination->ifindex, &mtu, 0, BPF_MTU_CHK_SEGS) != 0)
                return MESHCUT_VETH_PASSED_MTU + 1;
        ret->ifindex = destination->ifindex;
        return 0;
}

/* Asks the kernel's own routing and neighbour tables, so a change there is in force with the next packet. */
static __always_inline int find_routed(struct __sk_buff *skb, const struct meshcut_port *in, const struct packet *p,
                                       struct way *ret) {
        struct bpf_fib_lookup *fib = &ret->fib;
        struct meshcut_endpoint *destination;
        struct meshcut_port *out;
        long r;

        if (p->ttl <= 1)
                return MESHCUT_VETH_PASSED_TTL + 1;
        fib->ifindex = in->l3_ifindex;
        fib->l4_protocol = p->protocol;
        fib->sport = p->source_port;
        fib->dport = p->destination_port;
        fib->tot_len = wire_length(skb, p);
        if (p->is_ipv4) {
                fib->family = AF_INET;
                fib->tos = p->tos;
                fib->ipv4_src = ((const __u32 *) p->source)[3];
                fib->ipv4_dst = ((const __u32 *) p->destination)[3];
        } else {
                fib->family = AF_INET6;
                fib->flowinfo = p->flow_info;
                __builtin_memcpy(fib->ipv6_src, p->source, sizeof(fib->ipv6_src));
                __builtin_memcpy(fib->ipv6_dst, p->destination, sizeof(fib->ipv6_dst));
        }
        r = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
        if (r == BPF_FIB_LKUP_RET_FRAG_NEEDED)
                return MESHCUT_VETH_PASSED_MTU + 1;
        if (r != BPF_FIB_LKUP_RET_SUCCESS)
                return MESHCUT_VETH_PASSED_ROUTE + 1;

        ret->ifindex = fib->ifindex;
        out = bpf_map_lookup_elem(&ports, &ret->ifindex);
        if (out && (out->flags & MESHCUT_PORT_UPLINK)) {
                ret->uplink = true;
                return in->flags & MESHCUT_PORT_UPLINK ? MESHCUT_VETH_PASSED_ADDRESS + 1 : 0;
        }
        /* Not a device of ours: perhaps the bridge of some. */
        destination = endpoint_get(out ? out->domain : ret->ifindex, p->destination);
        if (!destination)
                return MESHCUT_VETH_PASSED_ADDRESS + 1;
        if (!mac_equal(destination->mac, fib->dmac) || (out && destination->ifindex != ret->ifindex))
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        ret->ifindex = destination->ifindex;
        return 0;
}

/* What a router does to a packet. Returns false, and has changed nothing, when that cannot be done. */
static __always_inline bool route(struct __sk_buff *skb, const struct packet *p, const struct way *way) {
        __u8 hop_limit = p->ttl - 1;
        struct ethhdr *ethernet;
        struct cursor cursor;

        /* IPv6 has no checksum that would make up for it: a sum that the device took has to follow. */
        if (!p->is_ipv4 && bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hop_limit,
                                               sizeof(hop_limit), BPF_F_RECOMPUTE_CSUM) < 0)
                return false;
        cursor = (struct cursor){ (void *) (__u64) skb->data, (void *) (__u64) skb->data_end };
        ethernet = cursor_take(&cursor, struct ethhdr);
        if (!ethernet)
                return false;
        if (p->is_ipv4) {
                struct iphdr *ip = cursor_take(&cursor, struct iphdr);
                __u32 check;

                if (!ip)
                        return false;
                /* RFC 1141, and the sum over header and payload stays what it was. */
                check = ip->check + bpf_htons(0x0100);
                ip->check = check + (check >= 0xffff);
                ip->ttl--;
        }
        __builtin_memcpy(ethernet->h_dest, way->fib.dmac, ETH_ALEN);
        __builtin_memcpy(ethernet->h_source, way->fib.smac, ETH_ALEN);
        return true;
}

static __always_inline int redirect_uplink(const struct way *way) {
        struct bpf_redir_neigh neighbour = { .nh_family = way->fib.family };

        /* The lookup has put the gateway, if there is one, in the place of the destination. */
        if (way->fib.family == AF_INET)
                neighbour.ipv4_nh = way->fib.ipv4_dst;
        else
                __builtin_memcpy(neighbour.ipv6_nh, way->fib.ipv6_dst, sizeof(neighbour.ipv6_nh));
        return bpf_redirect_neigh(way->ifindex, &neighbour, sizeof(neighbour), 0);
}

static __always_inline int redirect_peer(struct __sk_buff *skb, const struct way *way) {
        skb->mark = 0;
        /* A bridged packet was for another host, as far as the port that it came in by knows. The kernel corrects that by
         * itself since 6.15. */
        if (skb->pkt_type != PACKET_HOST)
                (void) bpf_skb_change_type(skb, PACKET_HOST);
        return bpf_redirect_peer(way->ifindex, 0);
}

static __always_inline int pass(struct meshcut_veth_counters *counters, int reason) {
        if (counters && reason > 0 && reason <= MESHCUT_VETH_PASSED_MAX)
                counters->passed[reason - 1]++;
        return TC_ACT_UNSPEC;
}

/* Has the normal path delivered a packet of this flow lately? */
static __always_inline int find_lease(const struct meshcut_veth_control *control, const struct meshcut_flow_key *key,
                                      __u32 *ret_out_ifindex) {
        struct meshcut_flow *flow = bpf_map_lookup_elem(&flows, key);

        if (!flow)
                return MESHCUT_VETH_PASSED_UNSEEN + 1;
        if (flow->refusal)
                return flow->refusal;
        if (flow->generation != control->generation || bpf_ktime_get_coarse_ns() + LEASE_MARGIN_NS >= flow->until_ns)
                return MESHCUT_VETH_PASSED_INTERVAL + 1;
        *ret_out_ifindex = flow->out_ifindex;
        return 0;
}

SEC("tc")
int meshcut_ingress(struct __sk_buff *skb) {
        struct meshcut_veth_control *control = veth_control_get();
        struct meshcut_veth_counters *counters;
        __u32 ifindex = skb->ifindex, leased_ifindex = 0;
        struct meshcut_flow_key key;
        struct packet p = {};
        struct way way = {};
        struct meshcut_port *in;
        bool routed;
        int r;

        if (!control || !control->on)
                return TC_ACT_UNSPEC;
        in = bpf_map_lookup_elem(&ports, &ifindex);
        if (!in)
                return TC_ACT_UNSPEC;
        counters = bpf_map_lookup_elem(&veth_counters, &ifindex);
        r = packet_read(skb, &p);
        if (r)
                return pass(counters, r);
        if (p.is_control)
                return pass(counters, MESHCUT_VETH_PASSED_CONTROL + 1);

        routed = mac_equal(p.to, in->gateway);
        flow_key(&p, ifindex, routed, &key);
        r = find_lease(control, &key, &leased_ifindex);
        if (r)
                return pass(counters, r);
        r = routed ? find_routed(skb, in, &p, &way) : find_bridged(skb, in, &p, &way);
        if (r)
                return pass(counters, r);
        if (way.ifindex != leased_ifindex)
                return pass(counters, MESHCUT_VETH_PASSED_ROUTE + 1);
        if (routed && !route(skb, &p, &way))
                return pass(counters, MESHCUT_VETH_PASSED_ROUTE + 1);

        if (counters) {
                counters->packets_shortcut += skb->gso_segs ? skb->gso_segs : 1;
                counters->bytes_shortcut += skb->len;
        }
        return way.uplink ? redirect_uplink(&way) : redirect_peer(skb, &way);
}

SEC("tc")
int meshcut_egress(struct __sk_buff *skb) {
        lease_observe(skb);
        return TC_ACT_UNSPEC;
}
