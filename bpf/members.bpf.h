/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the socket shortcut and the guard share: who is enrolled, and who must not be. */

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
