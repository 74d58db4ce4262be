// SPDX-License-Identifier: GPL-2.0-or-later

/* The socket shortcut: recognises the two ends of a connection at its handshake (sockops), hands messages over from
 * one to the other (sk_msg), and keeps one queue at the receiver (sk_skb verdict). */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "meshcut-abi.h"
#include "policy.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define ARPHRD_LOOPBACK 772
#define O_NONBLOCK 04000
#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define PSOCK_FLAGS 7UL /* low bits of sk_user_data */
#define E2BIG 7
#define SOL_TCP 6
#define TCP_NOTSENT_LOWAT 25
/* A one-way stream is cheaper by plain TCP when its messages are smaller than this on average: in a sockmap each write
 * stays a message of its own, while TCP merges them. Where sender and receiver share a CPU that shows at once, where they
 * do not it costs less, and a connection that is also used for requests should not be lost for one long answer. */
#define STREAM_SAME_CPU_BYTES 8192
#define STREAM_SAME_CPU_MESSAGES 32
#define STREAM_OTHER_CPU_BYTES 49152
#define STREAM_OTHER_CPU_MESSAGES 512
/* Looking whether the receiver's queue is empty costs three reads; below this many it does not matter. */
#define QUEUED_UNCHECKED 128

char _license[] SEC("license") = "GPL";

/* Set by the daemon before load: this kernel (6.2 and later) has bpf_rdonly_cast(). */
const volatile bool has_rdonly_cast;

extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/* Reads a field of a kernel struct at an address that is only a number. With the cast this is one load instruction, else
 * a helper call; the message path has a dozen of them. */
#define LOAD(type, address, field)                                                                                 \
        (has_rdonly_cast                                                                                           \
                 ? ((type *) bpf_rdonly_cast((void *) (address), bpf_core_type_id_kernel(type)))->field            \
                 : BPF_CORE_READ((type *) (address), field))

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct meshcut_control);
} control SEC(".maps");

/* Between a SYN and the end of its handshake. LRU: a flood of SYNs makes connections miss the shortcut, no more. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, struct meshcut_handshake_key);
        __type(value, struct meshcut_handshake);
} handshakes SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 2 * 65536); /* the daemon sets 2 * MaxConnections= */
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u64);
        __type(value, struct meshcut_end);
} ends SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_SOCKHASH);
        __uint(max_entries, 2 * 65536);
        __type(key, __u64);
        __type(value, __u64);
} sockets SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, MESHCUT_RULES_MAX + 1);
        __type(key, __u32);
        __type(value, struct meshcut_counters);
} counters SEC(".maps");

/* Not read by programs: lets a daemon that adopts the pins know which rule the counters of an index belong to. */
struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, MESHCUT_RULES_MAX);
        __type(key, __u32);
        __type(value, struct meshcut_rule_name);
} rule_names SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct meshcut_about);
} about SEC(".maps");

/* A per-CPU counter is not covered by the socket lock: a sender can be preempted by another one on its CPU. */
#define COUNT(rule, field, n)                                                                \
        do {                                                                                 \
                __u32 _rule = (rule);                                                        \
                struct meshcut_counters *_c = bpf_map_lookup_elem(&counters, &_rule);        \
                if (_c)                                                                      \
                        __sync_fetch_and_add(&_c->field, (n));                               \
        } while (0)

static __always_inline void count_left(__u32 rule, __u32 reason) {
        struct meshcut_counters *c = bpf_map_lookup_elem(&counters, &rule);

        if (c && reason < MESHCUT_LEFT_MAX)
                __sync_fetch_and_add(&c->left[reason], 1);
}

static __always_inline struct meshcut_control *control_get(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&control, &zero);
}

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
        ret->port = BPF_CORE_READ(sk, __sk_common.skc_num);
        ret->peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
        if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
                map_ipv4(ret->address, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
                map_ipv4(ret->peer_address, BPF_CORE_READ(sk, __sk_common.skc_daddr));
        } else {
                BPF_CORE_READ_INTO(&ret->address, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
                BPF_CORE_READ_INTO(&ret->peer_address, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
        }
}

static __always_inline bool is_blocking(struct sock *sk) {
        return !(BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK);
}

static __always_inline struct sk_psock *psock_of(struct sock *sk) {
        return (struct sk_psock *) ((unsigned long) LOAD(struct sock, sk, sk_user_data) & ~PSOCK_FLAGS);
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
        if (BPF_CORE_READ(tp, is_mptcp))
                return MESHCUT_LEFT_MPTCP;
        if (BPF_CORE_READ(tp, inet_conn.icsk_ulp_ops))
                return MESHCUT_LEFT_ULP;
        if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock))
                return MESHCUT_LEFT_KERNEL;
        if (BPF_CORE_READ(sk, sk_user_data))
                return MESHCUT_LEFT_BUSY;
        return -1;
}

/* When a receiver's bound is reached, a sender spills into TCP until its send buffer is full, and can be handed over
 * again only when all of that has arrived: a stream would never come back from megabytes of it. So a member takes no
 * more when this much waits to be sent, and blocks (or gives EAGAIN) until it is. A corked
 * segment (MSG_MORE of sendfile, TCP_CORK) waits for the application to go on, which is woken when half of the limit is
 * left (tcp_stream_memory_free()); so it must be twice the largest segment, which is just below 64 KiB on loopback. */
#define UNSENT_LIMIT 131072

static __always_inline void limit_unsent(struct bpf_sock_ops *ctx, struct sock *sk, bool on) {
        int limit = on ? UNSENT_LIMIT : 0;

        /* An application's own choice stays. */
        if (BPF_CORE_READ((struct tcp_sock *) sk, notsent_lowat) == (on ? 0 : UNSENT_LIMIT))
                bpf_setsockopt(ctx, SOL_TCP, TCP_NOTSENT_LOWAT, &limit, sizeof(limit));
}

/* Adds the socket of ctx to the sockhash, and its record to the ends. Returns -1, or why not. */
static __always_inline int enrol(struct bpf_sock_ops *ctx, struct sock *sk, __u64 cookie,
                                 struct meshcut_end *end) {
        long r;

        if (bpf_map_update_elem(&ends, &cookie, end, BPF_ANY) != 0)
                return MESHCUT_LEFT_FULL;
        r = bpf_sock_hash_update(ctx, &sockets, &cookie, BPF_ANY);
        if (r != 0) {
                bpf_map_delete_elem(&ends, &cookie);
                return r == -E2BIG ? MESHCUT_LEFT_FULL : MESHCUT_LEFT_BUSY;
        }
        limit_unsent(ctx, sk, true);
        /* Other programs may have asked for callbacks of their own. */
        bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG |
                                               BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
        return -1;
}

static __always_inline void end_init(struct meshcut_end *end, struct sock *sk, const struct verdict *verdict,
                                     const struct meshcut_control *c) {
        end->established_ns = end->last_tcp_ns = bpf_ktime_get_coarse_ns();
        end->first_seq = BPF_CORE_READ((struct tcp_sock *) sk, write_seq);
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
        handshake.listener_blocks = is_blocking(listener);
        key.client_next = BPF_CORE_READ(req, rcv_isn) + 1;
        key.server_next = BPF_CORE_READ(req, snt_isn) + 1;
        bpf_map_update_elem(&handshakes, &key, &handshake, BPF_ANY);
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
        if (left < 0 && ((is_blocking(sk) && !verdict.client_may_block) ||
                         (handshake->listener_blocks && !verdict.server_may_block)))
                left = MESHCUT_LEFT_BLOCKING;
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

/* Tells an end that its peer will not come, or has to go: both leave the sockmap at their first quiet moment. The
 * fetching atomic orders the flag before the psock references that on_segment() reads: a sender takes its reference,
 * an atomic too, before the program looks at the flag. */
static __always_inline void demote(struct meshcut_end *end) {
        __sync_fetch_and_or(&end->flags, MESHCUT_END_OFF | MESHCUT_END_DEMOTE);
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
        struct meshcut_end *client, end = {};
        __u64 cookie = bpf_get_socket_cookie(ctx);
        int left;

        if (!c || !c->on)
                return;
        handshake = bpf_map_lookup_elem(&handshakes, &key);
        if (!handshake) {
                count_left(MESHCUT_RULE_NONE, MESHCUT_LEFT_REMOTE);
                return;
        }
        known = *handshake;
        bpf_map_delete_elem(&handshakes, &key);
        client = known.client_cookie ? bpf_map_lookup_elem(&ends, &known.client_cookie) : NULL;
        if (!client) {
                if (!known.client_seen)
                        count_left(MESHCUT_RULE_NONE, MESHCUT_LEFT_REMOTE);
                return;
        }

        end.identity = known.server;
        judge(&client->identity, &end.identity, c, &verdict);
        left = verdict.left;
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
        __sync_fetch_and_add(&client->peer_cookie, cookie);
        COUNT(verdict.rule, paired, 1);
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

/* Nothing is queued, and nobody holds the psock but the sockhash, and the process that owns the socket's lock and runs
 * this from its own send or receive call. */
static __always_inline bool is_quiet(struct sock *sk, bool owned) {
        struct sk_psock *psock = psock_of(sk);
        void *head = (void *) psock + bpf_core_field_offset(struct sk_psock, ingress_msg);

        return psock && BPF_CORE_READ(psock, refcnt.refs.counter) <= 1 + owned &&
               BPF_CORE_READ(psock, ingress_skb.qlen) == 0 && BPF_CORE_READ(psock, ingress_msg.next) == head;
}

/* Is nobody inside a redirect from the peer? A sender holds a reference of its own psock from before it asks the
 * program until after the redirect, though not its lock. A psock that has left the sockhash stays with its socket until
 * the last reference is gone. */
static __always_inline bool peer_is_quiet(const struct meshcut_end *end) {
        struct sock *sk = (struct sock *) end->peer_sock;
        struct meshcut_end *peer;
        struct sk_psock *psock;

        if (!end->peer_cookie || (__u64) BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != end->peer_cookie)
                return true;
        psock = psock_of(sk);
        if (!psock)
                return true;
        peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);
        return peer && (peer->flags & MESHCUT_END_OFF) && !(peer->flags & MESHCUT_END_DEMOTED) &&
               BPF_CORE_READ(psock, refcnt.refs.counter) == 1;
}

/* Runs under the socket's lock for every segment that it sends, ACKs included; redirected messages send none. An end
 * that is to be demoted leaves the sockmap here, at the first moment at which nothing can be lost. */
static __always_inline void on_segment(struct bpf_sock_ops *ctx, struct sock *sk) {
        __u64 cookie = bpf_get_socket_cookie(ctx);
        struct meshcut_end *end = bpf_map_lookup_elem(&ends, &cookie);
        bool owned = BPF_CORE_READ(sk, sk_lock.owned);

        if (!end)
                return;
        /* Owned: this runs in a process that uses the socket, and not in the softirq of whoever sent to it. */
        if (owned)
                end->cpu = bpf_get_smp_processor_id();
        if (!(end->flags & MESHCUT_END_DEMOTE) || (end->flags & MESHCUT_END_DEMOTED))
                return;
        if (BPF_CORE_READ(sk, __sk_common.skc_state) != BPF_TCP_ESTABLISHED || !is_quiet(sk, owned) ||
            !peer_is_quiet(end) || bpf_map_delete_elem(&sockets, &cookie) != 0)
                return;
        __sync_fetch_and_or(&end->flags, MESHCUT_END_DEMOTED);
        limit_unsent(ctx, sk, false);
        bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

/* Always returns 1 and never writes a reply: other programs of the hierarchy have theirs. */
SEC("sockops")
int meshcut_sockops(struct bpf_sock_ops *ctx) {
        struct sock *sk = BPF_CORE_READ((struct bpf_sock_ops_kern *) ctx, sk);

        if (!ctx->is_fullsock) {
                if (ctx->op == BPF_SOCK_OPS_RWND_INIT)
                        on_syn(sk);
                return 1;
        }
        switch (ctx->op) {
        case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
                on_client(ctx, sk);
                break;
        case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
                on_server(ctx, sk);
                break;
        case BPF_SOCK_OPS_STATE_CB:
                if (ctx->args[1] == BPF_TCP_CLOSE)
                        on_close(ctx);
                break;
        case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
                on_segment(ctx, sk);
                break;
        }
        return 1;
}

/* The policy changed since this end was judged: judge the connection anew. */
static __noinline int judge_again(struct meshcut_end *end, const struct meshcut_control *c) {
        struct meshcut_end *peer;
        struct verdict verdict = {};
        bool server;

        if (!end || !c)
                return 0;
        peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);
        if (!peer)
                return 0;
        end->generation = c->generation;
        server = end->flags & MESHCUT_END_SERVER;
        if (server)
                judge(&peer->identity, &end->identity, c, &verdict);
        else
                judge(&end->identity, &peer->identity, c, &verdict);
        if (verdict.left >= 0) {
                __sync_fetch_and_or(&end->flags, MESHCUT_END_OFF);
                return 0;
        }
        end->rule = verdict.rule;
        if (!(end->flags & MESHCUT_END_DEMOTE))
                __sync_fetch_and_and(&end->flags, ~(__u64) MESHCUT_END_OFF);
        if (server ? verdict.client_may_block : verdict.server_may_block)
                __sync_fetch_and_or(&end->flags, MESHCUT_END_PEER_MAY_BLOCK);
        else
                __sync_fetch_and_and(&end->flags, ~(__u64) MESHCUT_END_PEER_MAY_BLOCK);
        return 0;
}

static __always_inline void demote_both(struct meshcut_end *end) {
        struct meshcut_end *peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);

        if (!peer || (end->flags & MESHCUT_END_DEMOTE))
                return;
        demote(end);
        demote(peer);
        COUNT(end->rule, demoted, 1);
}

static __always_inline bool lock_is_free(struct sock *sk) {
        if (!bpf_core_field_exists(sk->sk_lock.slock.rlock.raw_lock.val))
                return false;
        return !LOAD(struct sock, sk, sk_lock.owned) &&
               !LOAD(struct sock, sk, sk_lock.slock.rlock.raw_lock.val.counter);
}

/* Orders the reads before it against those after it; x86-64 does that by itself. */
static __always_inline void read_barrier(struct meshcut_end *end) {
#ifndef __TARGET_ARCH_x86
        __sync_fetch_and_add(&end->flags, 0);
#endif
}

/* Rule 3: is every earlier byte of this direction in the receiver's psock queue already? rcv_nxt moves before the
 * bytes are queued, but under one hold of the receiver's lock; hence the order of the looks. */
static __always_inline bool in_order(struct sock *peer, struct meshcut_end *end, __u32 write_seq) {
        if (!(end->flags & MESHCUT_END_PASSED) && write_seq == end->first_seq)
                return true;
        if (LOAD(struct tcp_sock, peer, rcv_nxt) != write_seq)
                return false;
        read_barrier(end);
        if (!lock_is_free(peer))
                return false;
        read_barrier(end);
        return LOAD(struct sock, peer, sk_receive_queue.qlen) == 0 &&
               LOAD(struct sk_psock, psock_of(peer), ingress_skb.qlen) == 0;
}

/* Rule 4. Returns -1 or why the receiver cannot take it. */
static __always_inline int within_bounds(struct sock *peer, struct meshcut_end *end, const struct meshcut_control *c,
                                         __u32 size) {
        __u64 limit = (__u32) LOAD(struct sock, peer, sk_rcvbuf) / 2;
        struct sk_psock *psock;
        void *head;

        if (c->max_unread < limit)
                limit = c->max_unread;
        if ((__u32) LOAD(struct sock, peer, sk_backlog.rmem_alloc.counter) + (__u64) size > limit)
                return MESHCUT_PASSED_UNREAD;

        if (end->queued >= QUEUED_UNCHECKED) {
                psock = psock_of(peer);
                head = (void *) psock + bpf_core_field_offset(struct sk_psock, ingress_msg);
                if (LOAD(struct sk_psock, psock, ingress_msg.next) == head)
                        end->queued = 0;
                else if (end->queued >= c->max_queued)
                        return MESHCUT_PASSED_QUEUED;
        }
        return -1;
}

/* Looks at the receiver, whose address is only good while the cookie there is the one recorded: TCP sockets are
 * type-stable, so the reads are harmless in any case. Returns -1 or why not. */
static __always_inline int receiver_refuses(struct meshcut_end *end, const struct meshcut_control *c,
                                            __u32 write_seq, __u32 size) {
        struct sock *peer = (struct sock *) end->peer_sock;
        struct socket *socket;
        struct file *file;
        __u8 state;
        int reason;

        if ((__u64) LOAD(struct sock, peer, __sk_common.skc_cookie.counter) != end->peer_cookie)
                return MESHCUT_PASSED_PEER_GONE;
        state = LOAD(struct sock, peer, __sk_common.skc_state);
        if (state != BPF_TCP_ESTABLISHED && state != BPF_TCP_FIN_WAIT1 && state != BPF_TCP_FIN_WAIT2)
                return MESHCUT_PASSED_PEER_GONE;
        if (LOAD(struct sock, peer, sk_shutdown) & RCV_SHUTDOWN)
                return MESHCUT_PASSED_PEER_GONE;
        if (LOAD(struct tcp_sock, peer, inet_conn.icsk_ulp_ops))
                return MESHCUT_PASSED_ULP;

        socket = LOAD(struct sock, peer, sk_socket);
        if (!socket)
                return MESHCUT_PASSED_UNACCEPTED;
        file = LOAD(struct socket, socket, file);
        if (!(end->flags & MESHCUT_END_PEER_MAY_BLOCK) && !(LOAD(struct file, file, f_flags) & O_NONBLOCK))
                return MESHCUT_PASSED_BLOCKING;

        if (!in_order(peer, end, write_seq))
                return MESHCUT_PASSED_ORDER;
        reason = within_bounds(peer, end, c, size);
        if (reason >= 0)
                return reason;

        read_barrier(end);
        if ((__u64) LOAD(struct sock, peer, __sk_common.skc_cookie.counter) != end->peer_cookie)
                return MESHCUT_PASSED_PEER_GONE;
        return -1;
}

/* A receiver opens its TCP window when it reads bytes that came by TCP and finds its buffer empty enough; reading bytes
 * that were handed over opens nothing (tcp_bpf_recvmsg_parser() cleans up for its own bytes only). So nothing may be
 * queued behind TCP's bytes while the window is too small for one more segment: TCP's next bytes would wait for a
 * window probe, 200 ms at a time. */
static __always_inline bool window_is_open(struct tcp_sock *tp) {
        __u32 available = tp->snd_una + tp->snd_wnd - tp->snd_nxt, segment = tp->mss_cache;

        if (segment > tp->max_window / 2)
                segment = tp->max_window / 2;
        return (__s32) available >= (__s32) segment;
}

/* The gates: -1 when the message may be handed over, else why it goes by TCP. */
static __always_inline int gate(struct tcp_sock *tp, struct meshcut_end *end, const struct meshcut_control *c,
                                __u64 now, __u32 size) {
        struct sock *sk = &tp->inet_conn.icsk_inet.sk;
        __u8 state = sk->__sk_common.skc_state;

        if (!c->on)
                return MESHCUT_PASSED_OFF;
        if (end->generation != c->generation)
                judge_again(end, c);
        if (end->flags & MESHCUT_END_OFF)
                return end->flags & MESHCUT_END_DEMOTE ? MESHCUT_PASSED_DEMOTED : MESHCUT_PASSED_OFF;
        if (!end->peer_cookie)
                return MESHCUT_PASSED_PENDING;
        if ((state != BPF_TCP_ESTABLISHED && state != BPF_TCP_CLOSE_WAIT) || (sk->sk_shutdown & SEND_SHUTDOWN))
                return MESHCUT_PASSED_STATE;
        if (sk->__sk_common.skc_flags & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY)))
                return MESHCUT_PASSED_ZEROCOPY;
        if (tp->inet_conn.icsk_ulp_ops)
                return MESHCUT_PASSED_ULP;
        if (now - end->last_tcp_ns >= c->tcp_interval_ns)
                return MESHCUT_PASSED_INTERVAL;
        if (!window_is_open(tp))
                return MESHCUT_PASSED_WINDOW;
        return receiver_refuses(end, c, tp->write_seq, size);
}

/* Rule 8: a connection that gains nothing goes back to plain TCP. */
static __always_inline void watch_for_stream(struct meshcut_end *end, __u32 size) {
        struct meshcut_end *peer;
        __u32 sent_by_peer;
        bool same_cpu, other_cpu;

        end->cpu = bpf_get_smp_processor_id();
        end->streak++;
        end->streak_bytes += size;
        if (end->streak % STREAM_SAME_CPU_MESSAGES != 0)
                return;
        peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);
        if (!peer)
                return;
        sent_by_peer = peer->messages_shortcut + peer->messages_tcp;
        same_cpu = peer->cpu == end->cpu;
        other_cpu = !same_cpu && peer->cpu != MESHCUT_CPU_UNKNOWN;
        if (sent_by_peer == end->streak_messages) {
                if ((same_cpu && end->streak_bytes / end->streak < STREAM_SAME_CPU_BYTES) ||
                    (other_cpu && end->streak >= STREAM_OTHER_CPU_MESSAGES &&
                     end->streak_bytes / end->streak < STREAM_OTHER_CPU_BYTES))
                        demote_both(end);
                if (end->streak < STREAM_OTHER_CPU_MESSAGES)
                        return;
        }
        end->streak = end->streak_bytes = 0;
        end->streak_messages = sent_by_peer;
}

/* Runs under the sender's lock, once per message. Always SK_PASS: without a target that is plain TCP. */
SEC("sk_msg")
int meshcut_msg(struct sk_msg_md *msg) {
        struct tcp_sock *tp = bpf_skc_to_tcp_sock(msg->sk);
        struct meshcut_counters *count;
        struct meshcut_control *c = control_get();
        struct meshcut_end *end;
        __u32 size = msg->size, rule;
        __u64 cookie, now;
        int reason;

        if (!tp || !c)
                return SK_PASS;
        cookie = tp->inet_conn.icsk_inet.sk.__sk_common.skc_cookie.counter;
        end = bpf_map_lookup_elem(&ends, &cookie);
        if (!end)
                return SK_PASS;

        now = bpf_ktime_get_coarse_ns();
        reason = gate(tp, end, c, now, size);
        if (reason < 0 && bpf_msg_redirect_hash(msg, &sockets, &end->peer_cookie, BPF_F_INGRESS) != SK_PASS)
                reason = MESHCUT_PASSED_PEER_GONE;

        rule = end->rule;
        count = bpf_map_lookup_elem(&counters, &rule);
        if (!count)
                return SK_PASS;
        if (reason < 0) {
                end->queued++;
                end->messages_shortcut++;
                end->bytes_shortcut += size;
                __sync_fetch_and_add(&count->messages_shortcut, 1);
                __sync_fetch_and_add(&count->bytes_shortcut, size);
        } else {
                if (!(end->flags & MESHCUT_END_PASSED))
                        __sync_fetch_and_or(&end->flags, MESHCUT_END_PASSED);
                end->last_tcp_ns = now;
                end->messages_tcp++;
                end->bytes_tcp += size;
                __sync_fetch_and_add(&count->bytes_tcp, size);
                if ((__u32) reason < MESHCUT_PASSED_MAX)
                        __sync_fetch_and_add(&count->passed[reason], 1);
                if (reason == MESHCUT_PASSED_BLOCKING)
                        demote_both(end);
        }
        watch_for_stream(end, size);
        return SK_PASS;
}

/* One queue per receiver: bytes that arrive by TCP join those that were handed over, in the receive path. */
SEC("sk_skb/stream_verdict")
int meshcut_verdict(struct __sk_buff *skb) {
        return SK_PASS;
}
