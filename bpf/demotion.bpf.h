/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Rule 8, never slower: which connections go back to plain TCP, and how an end leaves the sockmap without a loss. */

#define SOL_TCP 6
#define TCP_USER_TIMEOUT 18
#define TCP_NOTSENT_LOWAT 25

/* A one-way stream is cheaper by plain TCP when its messages are small on average: in a sockmap each write stays a
 * message of its own, while TCP merges them. Where sender and receiver share a CPU that shows at once. Where they do not
 * it costs less, and very large messages cost, too: TCP copies in on one CPU while it copies out on the other. But a
 * connection that is also used for requests should not be lost for one long answer. */
#define STREAM_SAME_CPU_MESSAGES 32
#define STREAM_SAME_CPU_BYTES_MIN 8192
#define STREAM_OTHER_CPU_MESSAGES 512
#define STREAM_OTHER_CPU_BYTES_MIN 49152
#define STREAM_OTHER_CPU_BYTES_MAX 131072

static __always_inline void demote_both(struct meshcut_end *end) {
        struct meshcut_end *peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);

        if (!peer || (end->flags & MESHCUT_END_DEMOTE))
                return;
        demote(end);
        demote(peer);
        COUNT(end->rule, demoted, 1);
}

/* Does plain TCP do better for a stream of so many messages without an answer? */
static __always_inline bool is_better_by_tcp(const struct meshcut_end *end, const struct meshcut_end *peer) {
        __u32 average = end->streak_bytes / end->streak;

        if (peer->cpu == end->cpu)
                return average < STREAM_SAME_CPU_BYTES_MIN;
        return peer->cpu != MESHCUT_CPU_UNKNOWN && end->streak >= STREAM_OTHER_CPU_MESSAGES &&
               (average < STREAM_OTHER_CPU_BYTES_MIN || average > STREAM_OTHER_CPU_BYTES_MAX);
}

/* Looks at the peer only once in a while: it is another look-up. */
static __always_inline void watch_for_stream(struct meshcut_end *end, __u32 size) {
        struct meshcut_end *peer;
        __u32 sent_by_peer;

        end->cpu = bpf_get_smp_processor_id();
        end->streak++;
        end->streak_bytes += size;
        if (end->streak % STREAM_SAME_CPU_MESSAGES != 0)
                return;
        peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);
        if (!peer)
                return;
        sent_by_peer = peer->messages_shortcut + peer->messages_tcp;
        if (sent_by_peer == end->streak_messages) {
                if (is_better_by_tcp(end, peer))
                        demote_both(end);
                if (end->streak < STREAM_OTHER_CPU_MESSAGES)
                        return;
        }
        end->streak = end->streak_bytes = 0;
        end->streak_messages = sent_by_peer;
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

/* A member that is closed with unread bytes sends a FIN where TCP sends a RST. Was its window shut at that moment, then its
 * peer's window probes get nothing but acknowledgements for a minute (tcp_fin_timeout), and a sender would wait that long to
 * hear that nobody will ever read. So once the peer's end is gone, the next probe is the last. */
static __always_inline void end_probes(struct bpf_sock_ops *ctx, const struct meshcut_end *end) {
        int timeout = 1;

        if (end->peer_cookie && !bpf_map_lookup_elem(&ends, &end->peer_cookie))
                bpf_setsockopt(ctx, SOL_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

/* The peer has sent a FIN: what this end sends from now on is looked at, whether it has left the sockmap or not. */
static __always_inline void on_peer_fin(struct bpf_sock_ops *ctx) {
        __u64 cookie = bpf_get_socket_cookie(ctx);

        if (bpf_map_lookup_elem(&ends, &cookie))
                bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
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
        if (BPF_CORE_READ(sk, __sk_common.skc_state) == BPF_TCP_CLOSE_WAIT)
                end_probes(ctx, end);
        if (!(end->flags & MESHCUT_END_DEMOTE) || (end->flags & MESHCUT_END_DEMOTED))
                return;
        /* A socket with kTLS has callbacks of both, and stays. */
        if (BPF_CORE_READ(sk, __sk_common.skc_state) != BPF_TCP_ESTABLISHED || !is_quiet(sk, owned) ||
            !peer_is_quiet(end) || BPF_CORE_READ((struct tcp_sock *) sk, inet_conn.icsk_ulp_ops))
                return;
        /* First, so that the peer never takes a psock that just lost the sockhash's reference for a quiet one. */
        FETCHED(__sync_fetch_and_or(&end->flags, MESHCUT_END_DEMOTED));
        if (bpf_map_delete_elem(&sockets, &cookie) != 0)
                return;
        limit_unsent(ctx, sk, false);
        if (end->flags & MESHCUT_END_KEEP_HDR_OPT)
                return;
        bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}
