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

/* Bytes of one packet on the wire: of a GSO packet one segment, as a router would see it. */
static __always_inline __u32 wire_length(struct __sk_buff *skb, const struct packet *p) {
        return skb->gso_size ? p->headers + skb->gso_size : skb->len - ETH_HLEN;
}

/* A frame may be longer than its packet only by what Ethernet pads it with. The IP layer would cut off the rest. */
static __always_inline bool has_trailer(struct __sk_buff *skb, const struct packet *p) {
        return !skb->gso_size && skb->len > ETH_ZLEN && skb->len - ETH_HLEN != p->length;
}

/* Asks the kernel's own routing and neighbour tables, so that a change there is in force with the next packet. */
static __always_inline int find_route(struct __sk_buff *skb, const struct packet *p, const struct meshcut_flow *lease,
                                      struct bpf_fib_lookup *fib) {
        struct meshcut_endpoint *destination;
        long r;

        if (p->ttl <= 1)
                return MESHCUT_VETH_PASSED_TTL + 1;
        fib->ifindex = lease->l3_ifindex;
        fib->l4_protocol = p->key.protocol;
        fib->sport = p->key.source_port;
        fib->dport = p->key.destination_port;
        fib->tot_len = wire_length(skb, p);
        if (p->is_ipv4) {
                fib->family = AF_INET;
                fib->tos = p->tos;
                fib->ipv4_src = ((const __u32 *) p->key.source)[3];
                fib->ipv4_dst = ((const __u32 *) p->key.destination)[3];
        } else {
                fib->family = AF_INET6;
                fib->flowinfo = p->flow_info;
                __builtin_memcpy(fib->ipv6_src, p->key.source, sizeof(fib->ipv6_src));
                __builtin_memcpy(fib->ipv6_dst, p->key.destination, sizeof(fib->ipv6_dst));
        }
        r = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
        if (r == BPF_FIB_LKUP_RET_FRAG_NEEDED)
                return MESHCUT_VETH_PASSED_MTU + 1;
        if (r != BPF_FIB_LKUP_RET_SUCCESS)
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        /* The neighbour, too: rules by mark and the choice between several gateways are not those of the normal path here. */
        if (!mac_equal(fib->dmac, lease->mac))
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        if (fib->ifindex == lease->out_ifindex)
                return 0;
        if (lease->flags & MESHCUT_FLOW_UPLINK)
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        /* Not that veth itself: its bridge? */
        destination = endpoint_get(fib->ifindex, p->key.destination);
        return destination && destination->ifindex == lease->out_ifindex ? 0 : MESHCUT_VETH_PASSED_ROUTE + 1;
}

/* What a router does to a packet. Returns false, and has changed nothing, when that cannot be done. */
static __always_inline bool route(struct __sk_buff *skb, const struct packet *p,
                                  const struct bpf_fib_lookup *fib) {
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
        __builtin_memcpy(ethernet->h_dest, fib->dmac, ETH_ALEN);
        __builtin_memcpy(ethernet->h_source, fib->smac, ETH_ALEN);
        return true;
}

/* route() has put the neighbour's MAC into the packet: the lookup gave it, and it is the one that the normal path uses.
 * bpf_redirect_neigh() would look it up once more. What keeps the neighbour alive is the packet a second of the normal path. */
static __always_inline int redirect_uplink(struct __sk_buff *skb, const struct bpf_fib_lookup *fib) {
        skb->tc_index = MOVED;
        return bpf_redirect(fib->ifindex, 0);
}

static __always_inline int redirect_peer(struct __sk_buff *skb, __u32 ifindex) {
        skb->mark = 0;
        /* A bridged packet was for another host, as far as the port that it came in by knows. The kernel corrects that by
         * itself since 6.15. */
        if (skb->pkt_type != PACKET_HOST)
                (void) bpf_skb_change_type(skb, PACKET_HOST);
        /* What TCP sends is a clone, which its receiver cannot merge into the packet before. A router copies the header in
         * any case; for a bridged packet it pays, too. Growing by nothing does just that. */
        if (skb->gso_segs > 1)
                (void) bpf_skb_change_head(skb, 0, 0);
        return bpf_redirect_peer(ifindex, 0);
}

static __noinline int pass(__u32 ifindex, int reason) {
        struct meshcut_veth_passed *passed = bpf_map_lookup_elem(&veth_passed, &ifindex);

        if (passed && reason > 0 && reason <= MESHCUT_VETH_PASSED_MAX)
                passed->packets[reason - 1]++;
        return TC_ACT_UNSPEC;
}

static __always_inline bool same_flow(const struct meshcut_flow_key *a, const struct meshcut_flow_key *b) {
        const __u32 *x = (const __u32 *) a, *y = (const __u32 *) b;
        __u32 difference = 0;

#pragma unroll
        for (int i = 0; i < (int) (sizeof(*a) / sizeof(*x)); i++)
                difference |= x[i] ^ y[i];
        return difference == 0;
}

/* Has the normal path delivered a packet of this flow lately, to where? */
static __always_inline int find_lease(const struct meshcut_veth_control *control, const struct packet *p,
                                      struct meshcut_flow *ret) {
        struct meshcut_flow *flow = bpf_map_lookup_elem(&flows, &p->key);

        if (!flow)
                return MESHCUT_VETH_PASSED_UNSEEN + 1;
        __builtin_memcpy(&ret->generation, &flow->generation, sizeof(*ret) - offsetof(struct meshcut_flow, generation));
        barrier();
        /* Read last what is written first: the copy is all of this flow, or it is none. */
        if (!same_flow(&flow->key, &p->key))
                return MESHCUT_VETH_PASSED_UNSEEN + 1;
        if (ret->refusal)
                return ret->refusal;
        if (ret->generation != control->generation || bpf_ktime_get_coarse_ns() + LEASE_MARGIN_NS >= ret->until_ns)
                return MESHCUT_VETH_PASSED_INTERVAL + 1;
        if (!mac_equal(ret->to, p->to))
                return MESHCUT_VETH_PASSED_ROUTE + 1;
        /* A firewall that rewrites TOS or TTL has to see every packet. The two bits of ECN are the sender's. */
        if (((ret->tos ^ p->tos) & 0xfc) || ret->ttl + !!(ret->flags & MESHCUT_FLOW_ROUTED) != p->ttl)
                return p->ttl <= 1 ? MESHCUT_VETH_PASSED_TTL + 1 : MESHCUT_VETH_PASSED_ROUTE + 1;
        return 0;
}

SEC("tc")
int meshcut_ingress(struct __sk_buff *skb) {
        struct meshcut_veth_control *control = veth_control_get();
        struct meshcut_veth_traffic *traffic;
        struct bpf_fib_lookup fib;
        struct meshcut_flow lease;
        __u32 ifindex = skb->ifindex;
        struct packet p = {};
        int r;

        if (!control || !control->on)
                return TC_ACT_UNSPEC;
        r = packet_read(skb, &p);
        if (r)
                return pass(ifindex, r);
        if (p.is_control)
                return pass(ifindex, MESHCUT_VETH_PASSED_CONTROL + 1);
        if (has_trailer(skb, &p))
                return pass(ifindex, MESHCUT_VETH_PASSED_PROTOCOL + 1);
        p.key.in_ifindex = ifindex;
        r = find_lease(control, &p, &lease);
        if (r)
                return pass(ifindex, r);
        if (lease.flags & MESHCUT_FLOW_ROUTED) {
                __builtin_memset(&fib, 0, sizeof(fib));
                r = find_route(skb, &p, &lease, &fib);
                if (r)
                        return pass(ifindex, r);
                if (!route(skb, &p, &fib))
                        return pass(ifindex, MESHCUT_VETH_PASSED_ROUTE + 1);
        } else if (wire_length(skb, &p) > lease.mtu)
                return pass(ifindex, MESHCUT_VETH_PASSED_MTU + 1);

        traffic = bpf_map_lookup_elem(&veth_traffic, &lease.slot);
        if (traffic) {
                traffic->packets += skb->gso_segs ? skb->gso_segs : 1;
                traffic->bytes += skb->len;
        }
        return lease.flags & MESHCUT_FLOW_UPLINK ? redirect_uplink(skb, &fib) : redirect_peer(skb, lease.out_ifindex);
}

SEC("tc")
int meshcut_egress(struct __sk_buff *skb) {
        if (skb->tc_index == MOVED)
                skb->tc_index = 0;
        else
                lease_observe(skb);
        return TC_ACT_UNSPEC;
}
