/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the socket shortcut and the guard share: who is enrolled, who must not be, and how a connection is put back. */

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 2 * 65536); /* the daemon sets 2 * MaxConnections= */
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, __u64);
        __type(value, struct meshcut_end);
} ends SEC(".maps");

/* By cgroup, of which the guard sees all of the host. LRU: each handshake looks its two up. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, __u64);
        __type(value, struct meshcut_reader);
} readers SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, MESHCUT_RULES_MAX + 1);
        __type(key, __u32);
        __type(value, struct meshcut_counters);
} counters SEC(".maps");

/* An atomic orders memory only if it fetches, and clang makes one whose result is not used fetch nothing. */
#define FETCHED(atomic)                                   \
        do {                                              \
                __u64 _old = (atomic);                    \
                asm volatile("" : : "r"(_old));           \
        } while (0)

/* A per-CPU counter is not covered by the socket lock: a sender can be preempted by another one on its CPU. */
#define COUNT(rule, field, n)                                                                \
        do {                                                                                 \
                __u32 _rule = (rule);                                                        \
                struct meshcut_counters *_c = bpf_map_lookup_elem(&counters, &_rule);        \
                if (_c)                                                                      \
                        __sync_fetch_and_add(&_c->field, (n));                               \
        } while (0)

/* Tells an end that its peer will not come, or has to go: both leave the sockmap at their first quiet moment. The
 * fetching atomic orders the flag before the psock references that on_segment() reads: a sender takes its reference,
 * an atomic too, before the program looks at the flag. */
static __always_inline void demote(struct meshcut_end *end) {
        FETCHED(__sync_fetch_and_or(&end->flags, MESHCUT_END_OFF | MESHCUT_END_DEMOTE));
}

/* Likewise, and says so of the messages that pass by TCP until then. True if it did not have to go anyway. */
static __always_inline bool demote_for_option(struct meshcut_end *end) {
        __u64 flags = MESHCUT_END_OFF | MESHCUT_END_DEMOTE | MESHCUT_END_OPTION;

        return !(__sync_fetch_and_or(&end->flags, flags) & MESHCUT_END_DEMOTE);
}

/* Something was asked of an enrolled socket that does not work there: its connection goes back to TCP. The flag comes before
 * the look at the peer, since on_server() enters the peer and then looks at the flag. Where both ends get here at once, one
 * of them decides whether the connection is counted. */
static __always_inline void put_back(struct meshcut_end *end) {
        struct meshcut_end *peer;
        bool mine, theirs;

        if (end->flags & MESHCUT_END_OPTION)
                return;
        mine = demote_for_option(end);
        peer = bpf_map_lookup_elem(&ends, &end->peer_cookie);
        theirs = peer && demote_for_option(peer);
        if (!peer || (end->flags & MESHCUT_END_SERVER) ? mine : theirs)
                COUNT(end->rule, demoted, 1);
}
