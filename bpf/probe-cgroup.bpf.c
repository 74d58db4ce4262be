// SPDX-License-Identifier: GPL-2.0-or-later

/* What the daemon's probes run on the sockets of its own cgroup: does a handshake show itself as the socket shortcut
 * needs it? */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"

char _license[] SEC("license") = "GPL";

/* The sequence numbers that follow the two SYNs, as a request socket has them, and as the client has them. */
volatile __u32 request[2], client[2];

SEC("sockops")
int probe_sockops(struct bpf_sock_ops *ctx) {
        struct sock *sk = BPF_CORE_READ((struct bpf_sock_ops_kern *) ctx, sk);

        if (!ctx->is_fullsock) {
                if (ctx->op != BPF_SOCK_OPS_RWND_INIT)
                        return 1;
                request[0] = BPF_CORE_READ((struct tcp_request_sock *) sk, rcv_isn) + 1;
                request[1] = BPF_CORE_READ((struct tcp_request_sock *) sk, snt_isn) + 1;
        } else if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
                client[0] = BPF_CORE_READ((struct tcp_sock *) sk, snd_nxt);
                client[1] = BPF_CORE_READ((struct tcp_sock *) sk, rcv_nxt);
        }
        return 1;
}
