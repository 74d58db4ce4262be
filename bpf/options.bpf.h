/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Socket options that do not work on an enrolled socket: SO_RCVLOWAT wakes too early, MSG_ZEROCOPY is never completed, and
 * kTLS cannot be switched on. A socket that has one at its handshake is left on TCP. One that gets it later goes back to
 * TCP, and the next connections of its cgroup are left there: the first may have missed what it asked for. */

#define SOL_SOCKET 1
#define SO_RCVLOWAT 18
#define SO_ZEROCOPY 60
#define TCP_ULP 31
#define SOL_TLS 282

/* Accepted sockets inherit both from their listener. */
static __always_inline bool has_option(struct sock *sk) {
        return BPF_CORE_READ(sk, sk_rcvlowat) > 1 ||
               (BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY)));
}

/* Is one being set? To 0, or to 1 where that is the default, is none. */
static __always_inline bool sets_option(struct bpf_sockopt *ctx) {
        int *value = ctx->optval;

        if (ctx->level == SOL_TCP)
                return ctx->optname == TCP_ULP;
        if (ctx->level != SOL_SOCKET || (ctx->optname != SO_RCVLOWAT && ctx->optname != SO_ZEROCOPY))
                return false;
        if ((void *) (value + 1) > ctx->optval_end || *value == 0)
                return false;
        return ctx->optname == SO_ZEROCOPY || *value != 1;
}

/* If the socket is enrolled, it goes back to TCP. */
static __always_inline void on_option(struct sock *sk) {
        __u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
        struct meshcut_end *end = bpf_map_lookup_elem(&ends, &cookie);
        struct meshcut_reader *reader, first = { .flags = MESHCUT_READER_OPTION };

        if (!end || (end->flags & MESHCUT_END_OPTION))
                return;
        put_back(end);
        reader = bpf_map_lookup_elem(&readers, &end->identity.cgroup);
        if (reader)
                __sync_fetch_and_or(&reader->flags, MESHCUT_READER_OPTION);
        else
                bpf_map_update_elem(&readers, &end->identity.cgroup, &first, BPF_NOEXIST);
}
