/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* How the two ends of a connection are recognised at its handshake, and enrolled. */

#define AF_INET 2
#define ARPHRD_LOOPBACK 772
#define E2BIG 7

static __always_inline void map_ipv4(__u8 *ret, __be32 address) {
        __builtin_memset(ret, 0, 10);
        ret[10] = ret[11] = 0xff;
        __builtin_memcpy(ret + 12, &address, 4);
}

/* What policy wants to know about a socket. owner is the socket whose cgroup counts: the listener of a request
 * socket, otherwise the socket itself. */
static __always_inline void identify(struct sock *sk, struct sock *owner, struct meshcut_identity *ret) {
        ret->cgroup = BPF_CORE_READ(owner, sk_cgrp_data.cgroup, kn, id);
        ret->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
        /* A request socket has the port that was dialled; with TPROXY its listener has another. */
        ret->port = BPF_CORE_READ(owner, __sk_common.skc_num);
        ret->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
        if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
                map_ipv4(ret->address, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
                map_ipv4(ret->peer_address, BPF_CORE_READ(sk, __sk_common.skc_daddr));
        } else {
                BPF_CORE_READ_INTO(&ret->address, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
                BPF_CORE_READ_INTO(&ret->peer_address, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
        }
}


/* Protocols that carry addresses or ports in their payload, which a conntrack helper has to see. */
static __always_inline bool is_helper_port(__u16 port) {
        switch (port) {
        case 21:    /* FTP */
        case 1720:  /* H.323 */
        case 1723:  /* PPTP */
        case 5060:  /* SIP */
        case 6566:  /* SANE */
        case 6667:  /* IRC */
        case 10080: /* Amanda */
                return true;
        default:
                return false;
        }
}

/* Why this socket can never be enrolled, or -1. */
static __always_inline int refuse_socket(struct sock *sk) {
        struct tcp_sock *tp = (struct tcp_sock *) sk;

        /* In repair mode a process chooses its sequence numbers, and with them whom it would be paired with. */
        if (BPF_CORE_READ_BITFIELD_PROBED(tp, repair))
                return MESHCUT_LEFT_REPAIR;
        if (bpf_core_field_exists(tp->is_mptcp) && BPF_CORE_READ(tp, is_mptcp))
                return MESHCUT_LEFT_MPTCP;
        if (BPF_CORE_READ(tp, inet_conn.icsk_ulp_ops))
                return MESHCUT_LEFT_ULP;
        if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock))
                return MESHCUT_LEFT_KERNEL;
        if (BPF_CORE_READ(sk, sk_user_data))
                return MESHCUT_LEFT_BUSY;
        if (has_option(sk))
                return MESHCUT_LEFT_OPTION;
        return -1;
}

/* A cgroup of which nothing is known: the first of its connections stay on TCP, where the guard sees how it reads. */
static __always_inline bool is_on_probation(__u64 cgroup, struct meshcut_reader *reader, __u32 connections) {
        struct meshcut_reader first = { .connections = 1 };

        if (!reader) {
                bpf_map_update_elem(&readers, &cgroup, &first, BPF_NOEXIST);
                return true;
        }
        if (reader->connections >= connections)
                return false;
        __sync_fetch_and_add(&reader->connections, 1);
        return true;
}

/* Why the way in which the processes at the ends read forbids it, or -1. */
static __always_inline int refuse_readers(__u64 client, __u64 server, const struct meshcut_control *c) {
        struct meshcut_reader *reads_client = bpf_map_lookup_elem(&readers, &client);
        struct meshcut_reader *reads_server = bpf_map_lookup_elem(&readers, &server);
        bool on_probation;

        if ((reads_client && (reads_client->flags & MESHCUT_READER_SPLICES)) ||
            (reads_server && (reads_server->flags & MESHCUT_READER_SPLICES)))
                return MESHCUT_LEFT_SPLICE;
        if ((reads_client && (reads_client->flags & MESHCUT_READER_NEEDS_TCP)) ||
            (reads_server && (reads_server->flags & MESHCUT_READER_NEEDS_TCP)))
                return MESHCUT_LEFT_OPTION;
        if (c->probation == 0)
                return -1;
        /* One connection lets both be seen. */
        on_probation = is_on_probation(client, reads_client, c->probation);
        if (server != client)
                on_probation |= is_on_probation(server, reads_server, c->probation);
        return on_probation ? MESHCUT_LEFT_PROBATION : -1;
}

/* Adds the socket of ctx to the sockhash, and its record to the ends. Returns -1, or why not. */
static __always_inline int enrol(struct bpf_sock_ops *ctx, struct sock *sk, __u64 cookie,
                                 struct meshcut_end *end) {
        long r;

        /* Other programs may have asked for callbacks of their own. */
        if (ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG)
                end->flags |= MESHCUT_END_KEEP_HDR_OPT;
        if (bpf_map_update_elem(&ends, &cookie, end, BPF_ANY) != 0)
                return MESHCUT_LEFT_FULL;
        r = bpf_sock_hash_update(ctx, &sockets, &cookie, BPF_ANY);
        if (r != 0) {
                bpf_map_delete_elem(&ends, &cookie);
                return r == -E2BIG ? MESHCUT_LEFT_FULL : MESHCUT_LEFT_BUSY;
        }
        limit_unsent(ctx, sk, true);
        bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG |
                                               BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
        return -1;
}

static __always_inline void end_init(struct meshcut_end *end, struct sock *sk, const struct verdict *verdict,
                                     const struct meshcut_control *c) {
        end->established_ns = end->last_tcp_ns = bpf_ktime_get_coarse_ns();
        end->first_seq = BPF_CORE_READ((struct tcp_sock *) sk, write_seq);
        end->next_seq = BPF_CORE_READ((struct tcp_sock *) sk, rcv_nxt);
        end->generation = c->generation;
        end->rule = verdict->rule;
        end->cpu = MESHCUT_CPU_UNKNOWN;
}

/* A SYN arrived at a listener of ours: the SYN-ACK is not sent yet, but both sequence numbers are known. */
static __always_inline void on_syn(struct sock *request) {
        struct tcp_request_sock *req = (struct tcp_request_sock *) request;
        struct sock *listener = BPF_CORE_READ(request, __sk_common.skc_listener);
        struct meshcut_handshake handshake = {};
        struct meshcut_handshake_key key;
        struct meshcut_control *c = control_get();

        if (!c || !c->on || !listener)
                return;
        identify(request, listener, &handshake.server);
        handshake.listener = (is_blocking(listener) ? MESHCUT_LISTENER_BLOCKS : 0) |
                             (has_option(listener) ? MESHCUT_LISTENER_OPTION : 0);
        key.client_next = BPF_CORE_READ(req, rcv_isn) + 1;
        key.server_next = BPF_CORE_READ(req, snt_isn) + 1;
        bpf_map_update_elem(&handshakes, &key, &handshake, BPF_ANY);
}

/* connect(AF_UNSPEC) ends a connection but not its socket, and the psock stays, with bytes of the old connection that
 * nobody read: the next connection must not get them. A socket without a cookie was never enrolled. */
static __always_inline void on_connect(struct sock *sk) {
        __u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);

        if (cookie)
                bpf_map_delete_elem(&sockets, &cookie);
}

/* A client saw its SYN-ACK. If a listener of ours sent it, the peer is on this host. */
static __always_inline void on_client(struct bpf_sock_ops *ctx, struct sock *sk) {
        struct meshcut_handshake_key key = {
                .client_next = BPF_CORE_READ((struct tcp_sock *) sk, snd_nxt),
                .server_next = BPF_CORE_READ((struct tcp_sock *) sk, rcv_nxt),
        };
        struct meshcut_handshake *handshake;
        struct meshcut_control *c = control_get();
        struct verdict verdict = {};
        struct meshcut_end end = {};
        __u64 cookie;
        int left;

        if (!c || !c->on) {
                count_left(MESHCUT_RULE_NONE, MESHCUT_LEFT_OFF);
                return;
        }
        handshake = bpf_map_lookup_elem(&handshakes, &key);
        if (!handshake) {
                count_left(MESHCUT_RULE_NONE, MESHCUT_LEFT_REMOTE);
                return;
        }
        handshake->client_seen = 1;

        identify(sk, sk, &end.identity);
        judge(&end.identity, &handshake->server, c, &verdict);
        left = verdict.left;
        if (left < 0 && (is_helper_port(end.identity.peer_port) || is_helper_port(handshake->server.port)))
                left = MESHCUT_LEFT_HELPER_PORT;
        if (left < 0)
                left = refuse_socket(sk);
        if (left < 0 && (handshake->listener & MESHCUT_LISTENER_OPTION))
                left = MESHCUT_LEFT_OPTION;
        if (left < 0 && is_blocking(sk) && !verdict.client_may_block)
                left = MESHCUT_LEFT_BLOCKING;
        if (left < 0 && !verdict.server_may_block &&
            accepts_blocking(&handshake->server, handshake->listener & MESHCUT_LISTENER_BLOCKS)) {
                left = MESHCUT_LEFT_BLOCKING;
                handshake->listener |= MESHCUT_LISTENER_WATCH;
        }
        if (left < 0)
                left = refuse_readers(end.identity.cgroup, handshake->server.cgroup, c);
        if (left < 0) {
                end_init(&end, sk, &verdict, c);
                end.flags = verdict.server_may_block ? MESHCUT_END_PEER_MAY_BLOCK : 0;
                cookie = bpf_get_socket_cookie(ctx);
                left = enrol(ctx, sk, cookie, &end);
        }
        if (left >= 0) {
                count_left(verdict.rule, left);
                return;
        }
        handshake->client_sock = (__u64) sk;
        handshake->client_cookie = cookie;
}

/* Did the last packet of the handshake come in by a device that only this host feeds? A connection that left the host
 * and came back (a hairpin through a load balancer) is looked at out there, and must stay there. */
static __always_inline bool came_from_this_host(struct bpf_sock_ops *ctx) {
        struct sk_buff *skb = BPF_CORE_READ((struct bpf_sock_ops_kern *) ctx, skb);
        struct net_device *dev = BPF_CORE_READ(skb, dev);
        char kind[5] = {};

        if (!dev)
                return false;
        if (BPF_CORE_READ(dev, type) == ARPHRD_LOOPBACK)
                return true;
        bpf_probe_read_kernel_str(kind, sizeof(kind), BPF_CORE_READ(dev, rtnl_link_ops, kind));
        return kind[0] == 'v' && kind[1] == 'e' && kind[2] == 't' && kind[3] == 'h';
}

/* The server's end is established: the pair is complete, if its client was enrolled. */
static __always_inline void on_server(struct bpf_sock_ops *ctx, struct sock *sk) {
        struct meshcut_handshake_key key = {
                .client_next = BPF_CORE_READ((struct tcp_sock *) sk, rcv_nxt),
                .server_next = BPF_CORE_READ((struct tcp_sock *) sk, snd_nxt),
        };
        struct meshcut_handshake *handshake, known;
        struct meshcut_control *c = control_get();
        struct verdict verdict = {};
        struct meshcut_end *client, *server, end = {};
        __u64 cookie = bpf_get_socket_cookie(ctx);
        int left;

        if (!c)
                return;
        handshake = bpf_map_lookup_elem(&handshakes, &key);
        if (!handshake) {
                if (c->on)
                        count_left(MESHCUT_RULE_NONE, MESHCUT_LEFT_REMOTE);
                return;
        }
        known = *handshake;
        bpf_map_delete_elem(&handshakes, &key);
        if (known.listener & MESHCUT_LISTENER_WATCH)
                watch(ctx, &known.server, cookie);
        client = known.client_cookie ? bpf_map_lookup_elem(&ends, &known.client_cookie) : NULL;
        /* The record of a client that is gone can be another client's by now: the numbers tell. */
        if (!client || client->first_seq != key.client_next || client->next_seq != key.server_next ||
            client->peer_cookie) {
                if (!known.client_seen)
                        count_left(MESHCUT_RULE_NONE, MESHCUT_LEFT_REMOTE);
                return;
        }

        end.identity = known.server;
        judge(&client->identity, &end.identity, c, &verdict);
        left = c->on ? verdict.left : MESHCUT_LEFT_OFF;
        if (left < 0 && known.client_cookie == cookie)
                left = MESHCUT_LEFT_SELF;
        if (left < 0 && !came_from_this_host(ctx))
                left = MESHCUT_LEFT_INGRESS;
        if (left < 0)
                left = refuse_socket(sk);
        if (left < 0) {
                end_init(&end, sk, &verdict, c);
                end.flags = MESHCUT_END_SERVER | (verdict.client_may_block ? MESHCUT_END_PEER_MAY_BLOCK : 0);
                end.peer_sock = known.client_sock;
                end.peer_cookie = known.client_cookie;
                left = enrol(ctx, sk, cookie, &end);
        }
        if (left >= 0) {
                count_left(verdict.rule, left);
                demote(client);
                return;
        }
        /* The client may be sending right now: it takes the address only once it sees the cookie. */
        client->peer_sock = (__u64) sk;
        if (__sync_val_compare_and_swap(&client->peer_cookie, 0, cookie) != 0)
                return;
        COUNT(verdict.rule, paired, 1);
        /* An option that was set before the client's end had a peer to tell: put_back() looks the other way round. */
        if (client->flags & MESHCUT_END_OPTION) {
                server = bpf_map_lookup_elem(&ends, &cookie);
                if (server)
                        demote_for_option(server);
        }
}

static __always_inline void on_close(struct bpf_sock_ops *ctx) {
        __u64 cookie = bpf_get_socket_cookie(ctx);
        struct meshcut_end *end = bpf_map_lookup_elem(&ends, &cookie);

        if (!end)
                return;
        if (end->flags & MESHCUT_END_SERVER)
                COUNT(end->rule, closed, 1);
        bpf_map_delete_elem(&ends, &cookie);
}
