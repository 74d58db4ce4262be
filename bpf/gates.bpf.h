/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* When a message may be handed over: the gates of the eight rules, each with a reason that is counted. */

#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define PAGE_SIZE 4096
#define PENDING_NS 1000000000ULL
/* Charges are taken in batches of 64 pages for each CPU (MEMCG_CHARGE_BATCH). */
#define MEMORY_MARGIN_PAGES 64
#define MEMCG_DEPTH 12
/* Looking whether the receiver's queue is empty costs three reads; below this many it does not matter. */
#define QUEUED_UNCHECKED 128

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

static __always_inline bool lock_is_free(struct sock *sk) {
        if (!bpf_core_field_exists(sk->sk_lock.slock.rlock.raw_lock.val))
                return false;
        return !LOAD(struct sock, sk, sk_lock.owned) &&
               !LOAD(struct sock, sk, sk_lock.slock.rlock.raw_lock.val.counter);
}

/* Orders the reads before it against those after it; x86-64 does that by itself. */
static __always_inline void read_barrier(struct meshcut_end *end) {
#ifndef __TARGET_ARCH_x86
        FETCHED(__sync_fetch_and_add(&end->flags, 0));
#endif
}

/* Rule 3: is every earlier byte of this direction in the receiver's psock queue already? rcv_nxt moves before the
 * bytes are queued, but under one hold of the receiver's lock; hence the order of the looks.
 *
 * rcv_nxt also tells that the receiver is still in this connection: connect(AF_UNSPEC) and another connect() leave a
 * socket its cookie, but the numbers of its next connection are others. */
static __always_inline bool in_order(struct sock *peer, struct meshcut_end *end, __u32 write_seq) {
        if (LOAD(struct tcp_sock, peer, rcv_nxt) != write_seq)
                return false;
        if (!(end->flags & MESHCUT_END_PASSED) && write_seq == end->first_seq)
                return true;
        read_barrier(end);
        if (!lock_is_free(peer))
                return false;
        read_barrier(end);
        return LOAD(struct sock, peer, sk_receive_queue.qlen) == 0 &&
               LOAD(struct sk_psock, psock_of(peer), ingress_skb.qlen) == 0;
}

static __always_inline bool is_nearly_full(struct page_counter *counter, long pages) {
        for (int level = 0; level < MEMCG_DEPTH && counter; level++) {
                if (BPF_CORE_READ(counter, usage.counter) + pages > (long) BPF_CORE_READ(counter, max))
                        return true;
                counter = BPF_CORE_READ(counter, parent);
        }
        return false;
}

/* A message that is handed over is charged to the receiver, and where that fails its *sender* gets ENOMEM, which TCP
 * would never tell it. What the receiver has been granted already is enough in most cases. */
static __always_inline bool memory_is_scarce(struct sock *peer, __u32 size) {
        struct proto *proto;
        struct mem_cgroup *memcg;
        long *limits, limit, pages = size / PAGE_SIZE + MEMORY_MARGIN_PAGES;

        if (LOAD(struct sock, peer, sk_forward_alloc) >= (int) size)
                return false;
        proto = LOAD(struct sock, peer, __sk_common.skc_prot);
        limits = LOAD(struct proto, proto, sysctl_mem);
        if (bpf_probe_read_kernel(&limit, sizeof(limit), &limits[1]) != 0 ||
            BPF_CORE_READ(proto, memory_allocated, counter) + pages > limit)
                return true;

        if (!bpf_core_field_exists(peer->sk_memcg))
                return false;
        memcg = LOAD(struct sock, peer, sk_memcg);
        if (!memcg)
                return false;
        if (is_nearly_full((void *) memcg + bpf_core_field_offset(struct mem_cgroup, memory), pages))
                return true;
        return bpf_core_field_exists(memcg->tcpmem) &&
               is_nearly_full((void *) memcg + bpf_core_field_offset(struct mem_cgroup, tcpmem), pages);
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
        if (memory_is_scarce(peer, size))
                return MESHCUT_PASSED_MEMORY;

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

/* A receiver opens its TCP window when it reads bytes and finds its buffer empty enough; bytes that were handed over fill
 * the buffer, and newer kernels do not count them when they are read. So nothing is queued behind TCP's bytes while the
 * window is too small for one more segment: whatever the kernel's version, TCP's next bytes then do not wait for a
 * window probe. */
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
                return end->flags & MESHCUT_END_OPTION   ? MESHCUT_PASSED_OPTION
                       : end->flags & MESHCUT_END_DEMOTE ? MESHCUT_PASSED_DEMOTED
                                                         : MESHCUT_PASSED_OFF;
        if (!end->peer_cookie) {
                /* The server's end was missed: it will not come any more. */
                if (now - end->established_ns > PENDING_NS)
                        demote(end);
                return MESHCUT_PASSED_PENDING;
        }
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
