// SPDX-License-Identifier: GPL-2.0-or-later

/* The socket shortcut: recognises the two ends of a connection at its handshake (sockops), hands messages over from
 * one to the other (sk_msg), and keeps one queue at the receiver (sk_skb verdict). Options that do not work on enrolled
 * sockets are watched for (setsockopt). */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "meshcut-abi.h"

#include "policy.bpf.h"

#include "members.bpf.h"

#include "ends.bpf.h"

#include "listeners.bpf.h"

#include "demotion.bpf.h"
#include "gates.bpf.h"
#include "options.bpf.h"
#include "handshake.bpf.h"

#define BLOCKING_GRACE_NS 1000000000ULL
#define ADJUST_MAX 4095 /* of bpf_skb_adjust_room() on an sk_skb */

char _license[] SEC("license") = "GPL";

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
        case BPF_SOCK_OPS_TCP_CONNECT_CB:
                on_connect(sk);
                break;
        case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
                on_client(ctx, sk);
                break;
        case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
                on_server(ctx, sk);
                break;
        case BPF_SOCK_OPS_STATE_CB:
                if (ctx->args[1] == BPF_TCP_CLOSE)
                        on_close(ctx);
                else if (ctx->args[1] == BPF_TCP_CLOSE_WAIT)
                        on_peer_fin(ctx);
                break;
        case BPF_SOCK_OPS_RTT_CB:
                on_round_trip(ctx, sk);
                break;
        case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
                on_segment(ctx, sk);
                break;
        }
        return 1;
}

static __noinline int give_up_blocking(struct meshcut_end *end) {
        struct meshcut_end *receiver;

        if (!end)
                return 0;
        receiver = bpf_map_lookup_elem(&ends, &end->peer_cookie);
        if (receiver)
                observe_blocking(receiver);
        demote_both(end);
        return 0;
}

/* Every setsockopt() of the hierarchy comes here first, with the socket's lock. Always returns 1 and changes nothing. */
SEC("cgroup/setsockopt")
int meshcut_setsockopt(struct bpf_sockopt *ctx) {
        /* The kernel goes on with the copy of the value that it shows to programs. That is no more than a page, and 7.2 warns
         * of itself when it takes the keys of kTLS from there. Of this length it means "what the process gave". Else it
         * stays: another program may have changed the value. */
        if (ctx->optlen > PAGE_SIZE || ctx->level == SOL_TLS)
                ctx->optlen = 0;
        if (sets_option(ctx))
                on_option(BPF_CORE_READ((struct bpf_sockopt_kern *) ctx, sk));
        return 1;
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
                /* Many servers accept() first and set O_NONBLOCK then. */
                if (reason == MESHCUT_PASSED_BLOCKING && now - end->established_ns > BLOCKING_GRACE_NS)
                        give_up_blocking(end);
        }
        /* An urgent byte that went by TCP would stay urgent for ever at a receiver that is enrolled: the next one does. */
        if (end->flags & MESHCUT_END_URGENT)
                put_back(end);
        watch_for_stream(end, size);
        return SK_PASS;
}

/* Cuts n bytes off the front, in the largest steps that the helper takes; 64 KiB is the largest segment. */
static __always_inline void cut_front(struct __sk_buff *skb, __u32 n) {
        for (int i = 0; i < 17 && n > 0; i++) {
                __u32 step = n < ADJUST_MAX ? n : ADJUST_MAX;

                if (bpf_skb_adjust_room(skb, -(__s32) step, 0, 0) != 0)
                        return;
                n -= step;
        }
}

/* One queue per receiver: bytes that arrive by TCP join those that were handed over, in the receive path.
 *
 * A retransmitted segment may begin with bytes that were received before. TCP's own readers skip them by copied_seq, but
 * tcp_read_skb(), which brings segments here, does not, and the application would get them twice. */
SEC("sk_skb/stream_verdict")
int meshcut_verdict(struct __sk_buff *skb) {
        __u64 cookie = bpf_get_socket_cookie(skb);
        struct meshcut_end *end = bpf_map_lookup_elem(&ends, &cookie);
        __u32 seq, length = skb->len;
        __s32 known;

        if (!end || bpf_probe_read_kernel(&seq, sizeof(seq),
                                          (void *) skb + bpf_core_field_offset(struct sk_buff, cb) +
                                                  bpf_core_field_offset(struct tcp_skb_cb, seq)) != 0)
                return SK_PASS;
        known = end->next_seq - seq;
        if (known > 0 && (__u32) known < length)
                cut_front(skb, known);
        end->next_seq = seq + length;
        return SK_PASS;
}
