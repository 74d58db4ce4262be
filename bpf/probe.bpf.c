// SPDX-License-Identifier: GPL-2.0-or-later

/* What the daemon's probes run on pairs of sockets of its own: the same kinds of program and map as the socket
 * shortcut, steered by one switch. */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

/* Hand messages over to sockets[0], the receiver; otherwise they go by TCP. */
volatile bool redirect;

/* With both programs: one queue for each receiver. */
struct {
        __uint(type, BPF_MAP_TYPE_SOCKMAP);
        __uint(max_entries, 2);
        __type(key, __u32);
        __type(value, __u64);
} sockets SEC(".maps");

/* With the first alone: what comes by TCP stays in TCP's own queue. */
struct {
        __uint(type, BPF_MAP_TYPE_SOCKMAP);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, __u64);
} two_queues SEC(".maps");

SEC("sk_msg")
int probe_msg(struct sk_msg_md *msg) {
        if (redirect)
                bpf_msg_redirect_map(msg, &sockets, 0, BPF_F_INGRESS);
        return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int probe_verdict(struct __sk_buff *skb) {
        return SK_PASS;
}
