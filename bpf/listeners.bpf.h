/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Who blocks? accept() does not hand O_NONBLOCK on, so the listener's flag, which is all that is known at the handshake, is a
 * guess. A connection that is left on TCP by that guess is looked at once its server has sent something, and after some that
 * did not block the next ones are enrolled. What a receiver really is decides for each message all the same: see gates.bpf.h. */

/* So many accepted sockets in a row make a habit. */
#define LISTENER_LEARNT 4

struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 4096);
        __type(key, struct meshcut_listener_key);
        __type(value, struct meshcut_listener);
} listeners SEC(".maps");

/* Sockets whose flags are to be looked at. LRU: one that never sends is no loss. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 4096);
        __type(key, __u64);
        __type(value, struct meshcut_listener_key);
} watched SEC(".maps");

static __always_inline void listener_of(const struct meshcut_identity *server, struct meshcut_listener_key *ret) {
        ret->cgroup = server->cgroup;
        ret->netns = server->netns;
        ret->port = server->port;
}

/* Will the socket that this listener accepts block? */
static __always_inline bool accepts_blocking(const struct meshcut_identity *server, bool listener_blocks) {
        struct meshcut_listener_key key;
        struct meshcut_listener *listener;

        listener_of(server, &key);
        listener = bpf_map_lookup_elem(&listeners, &key);
        if (!listener)
                return listener_blocks;
        return listener->nonblocking < LISTENER_LEARNT && (listener_blocks || listener->blocking);
}

/* Remembers an accepted socket. Two at once may count as one. */
static __always_inline void observe(const struct meshcut_listener_key *key, bool blocks) {
        struct meshcut_listener *listener = bpf_map_lookup_elem(&listeners, key);
        struct meshcut_listener first = { .nonblocking = !blocks, .blocking = blocks };

        if (!listener) {
                bpf_map_update_elem(&listeners, key, &first, BPF_NOEXIST);
                return;
        }
        if (blocks) {
                listener->nonblocking = 0;
                listener->blocking = 1;
        } else if (listener->nonblocking < LISTENER_LEARNT)
                listener->nonblocking++;
}

/* An enrolled receiver turned out to block. What its listener was known for is no longer so. */
static __always_inline void observe_blocking(const struct meshcut_end *receiver) {
        struct meshcut_listener_key key;

        if (!(receiver->flags & MESHCUT_END_SERVER))
                return;
        listener_of(&receiver->identity, &key);
        observe(&key, true);
}

/* Asks for a call when something that the server sent has been acknowledged. Where another program has asked for that, it is
 * not ours to end, and the socket is left in peace. */
static __always_inline void watch(struct bpf_sock_ops *ctx, const struct meshcut_identity *server, __u64 cookie) {
        struct meshcut_listener_key key;

        if (ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_RTT_CB_FLAG)
                return;
        listener_of(server, &key);
        if (bpf_map_update_elem(&watched, &cookie, &key, BPF_ANY) == 0)
                bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
}

static __always_inline void on_round_trip(struct bpf_sock_ops *ctx, struct sock *sk) {
        __u64 cookie = bpf_get_socket_cookie(ctx);
        struct meshcut_listener_key *key = bpf_map_lookup_elem(&watched, &cookie), known;

        /* Not accepted yet? Then the next time. */
        if (!key || !BPF_CORE_READ(sk, sk_socket, file))
                return;
        known = *key;
        observe(&known, is_blocking(sk));
        bpf_map_delete_elem(&watched, &cookie);
        bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
}
