/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Reads the headers of a packet: Ethernet, IPv4 or IPv6, TCP or UDP. Both families look the same afterwards. */

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define IPV4_FRAGMENT 0x3fff /* more fragments, or an offset */

struct packet {
        struct meshcut_flow_key key; /* without the device */
        bool is_ipv4;
        __u8 ttl;
        __u8 tos;                 /* or traffic class */
        __be32 flow_info;         /* of IPv6, as bpf_fib_lookup() wants it */
        __u16 headers;            /* bytes of the network and transport headers */
        __u32 length;             /* as the IP header has it */
        bool is_control;          /* SYN, FIN or RST */
        bool ends;                /* FIN or RST */
        __u8 to[ETH_ALEN];
};

/* Where the next header is read. The verifier wants to see every step compared with the end. */
struct cursor {
        void *at, *end;
};

#define cursor_take(cursor, type)                                                                     \
        ({                                                                                            \
                type *_header = (cursor)->at;                                                         \
                (cursor)->at = _header + 1;                                                           \
                (cursor)->at <= (cursor)->end ? _header : NULL;                                       \
        })

/* All headers that we read, in the linear part of the packet. What TCP sends has its headers there and nothing else, so a
 * byte more would have to be moved for each packet. */
static __always_inline struct cursor packet_open(struct __sk_buff *skb) {
        __u32 wanted = ETH_HLEN + sizeof(struct tcphdr) +
                       (skb->protocol == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));

        if (wanted > skb->len)
                wanted = skb->len;
        if ((__u64) skb->data_end - (__u64) skb->data < wanted)
                (void) bpf_skb_pull_data(skb, wanted);
        return (struct cursor){ (void *) (__u64) skb->data, (void *) (__u64) skb->data_end };
}

static __always_inline void map_ipv4(__u8 *address, __be32 ipv4) {
        __u32 *words = (__u32 *) address;

        words[0] = words[1] = 0;
        words[2] = bpf_htonl(0xffff);
        words[3] = ipv4;
}

/* Each part returns 0, or a reason + 1 for leaving the packet alone. */

static __always_inline int read_ipv4(struct cursor *cursor, struct packet *p) {
        struct iphdr *ip = cursor_take(cursor, struct iphdr);

        if (!ip || ip->version != 4 || ip->ihl != 5)
                return MESHCUT_VETH_PASSED_PROTOCOL + 1;
        if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
                return MESHCUT_VETH_PASSED_FRAGMENT + 1;
        p->is_ipv4 = true;
        map_ipv4(p->key.source, ip->saddr);
        map_ipv4(p->key.destination, ip->daddr);
        p->key.protocol = ip->protocol;
        p->ttl = ip->ttl;
        p->tos = ip->tos;
        p->length = bpf_ntohs(ip->tot_len);
        p->headers = sizeof(*ip);
        return 0;
}

static __always_inline int read_ipv6(struct cursor *cursor, struct packet *p) {
        struct ipv6hdr *ip = cursor_take(cursor, struct ipv6hdr);

        if (!ip || ip->version != 6)
                return MESHCUT_VETH_PASSED_PROTOCOL + 1;
        if (ip->nexthdr == IPPROTO_FRAGMENT)
                return MESHCUT_VETH_PASSED_FRAGMENT + 1;
        __builtin_memcpy(p->key.source, &ip->saddr, sizeof(p->key.source));
        __builtin_memcpy(p->key.destination, &ip->daddr, sizeof(p->key.destination));
        p->key.protocol = ip->nexthdr;
        p->ttl = ip->hop_limit;
        p->flow_info = *(__be32 *) ip & bpf_htonl(0x0fffffff);
        p->tos = bpf_ntohl(*(__be32 *) ip) >> 20;
        p->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
        p->headers = sizeof(*ip);
        return 0;
}

static __always_inline int read_transport(struct cursor *cursor, struct packet *p) {
        if (p->key.protocol == IPPROTO_TCP) {
                struct tcphdr *tcp = cursor_take(cursor, struct tcphdr);

                if (!tcp)
                        return MESHCUT_VETH_PASSED_PROTOCOL + 1;
                p->key.source_port = tcp->source;
                p->key.destination_port = tcp->dest;
                p->ends = tcp->fin || tcp->rst;
                p->is_control = p->ends || tcp->syn;
                p->headers += tcp->doff * 4;
                return 0;
        }
        if (p->key.protocol == IPPROTO_UDP) {
                struct udphdr *udp = cursor_take(cursor, struct udphdr);

                if (!udp)
                        return MESHCUT_VETH_PASSED_PROTOCOL + 1;
                p->key.source_port = udp->source;
                p->key.destination_port = udp->dest;
                p->headers += sizeof(*udp);
                return 0;
        }
        return MESHCUT_VETH_PASSED_PROTOCOL + 1;
}

static __always_inline int packet_read(struct __sk_buff *skb, struct packet *p) {
        struct cursor cursor;
        struct ethhdr *ethernet;
        int r;

        /* Decided before anything is pulled: most of what is left alone never needs it. */
        if (skb->vlan_present || (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)))
                return MESHCUT_VETH_PASSED_PROTOCOL + 1;
        cursor = packet_open(skb);
        ethernet = cursor_take(&cursor, struct ethhdr);
        if (!ethernet)
                return MESHCUT_VETH_PASSED_PROTOCOL + 1;
        if (ethernet->h_dest[0] & 1)
                return MESHCUT_VETH_PASSED_MULTICAST + 1;
        __builtin_memcpy(p->to, ethernet->h_dest, ETH_ALEN);
        if (ethernet->h_proto == bpf_htons(ETH_P_IP))
                r = read_ipv4(&cursor, p);
        else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
                r = read_ipv6(&cursor, p);
        else
                return MESHCUT_VETH_PASSED_PROTOCOL + 1;
        return r ? r : read_transport(&cursor, p);
}

/* Whether both are the same MAC address. Neither needs to be aligned. */
static __always_inline bool mac_equal(const __u8 *a, const __u8 *b) {
        return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}
