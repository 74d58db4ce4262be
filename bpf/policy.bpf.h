/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Which rules match a connection: one look-up per selector, whatever the number of rules. */

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, MESHCUT_POLICY_SLOTS);
        __type(key, __u32);
        __type(value, struct meshcut_rules);
} rules SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, MESHCUT_POLICY_SLOTS * 65536);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, struct meshcut_cgroup_key);
        __type(value, __u64);
} rules_by_cgroup SEC(".maps");

/* Index: slot * 65536 + port. */
struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, MESHCUT_POLICY_SLOTS * 65536);
        __uint(map_flags, BPF_F_MMAPABLE);
        __type(key, __u32);
        __type(value, __u64);
} rules_by_port SEC(".maps");

/* A prefix carries the rules of all prefixes that contain it: the longest match is then the whole answer. */
struct {
        __uint(type, BPF_MAP_TYPE_LPM_TRIE);
        __uint(max_entries, MESHCUT_POLICY_SLOTS * 16384);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, struct meshcut_address_key);
        __type(value, __u64);
} rules_by_address SEC(".maps");

struct verdict {
        int left; /* enum meshcut_left, or -1: shortcut */
        __u32 rule;
        bool client_may_block;
        bool server_may_block;
};

/* The lowest bit that is set, of a mask that has one. clang 14's backend has no __builtin_ctzll(). */
static __always_inline __u32 first_rule(__u64 mask) {
        __u32 n = 0;

#pragma unroll
        for (int width = 32; width > 0; width /= 2)
                if (!(mask & ((1ULL << width) - 1))) {
                        mask >>= width;
                        n += width;
                }
        return n;
}

/* The rules that match one end. ret_known is false when its cgroup is not known to the daemon yet. */
static __always_inline __u64 rules_of_end(const struct meshcut_identity *end, const struct meshcut_rules *all,
                                          __u32 slot, __u16 port, bool *ret_known) {
        struct meshcut_cgroup_key cgroup_key = { .id = end->cgroup, .slot = slot };
        struct meshcut_address_key address_key = { .prefix_length = 32 + 128, .slot = slot };
        __u32 port_key = slot * 65536 + port;
        __u64 mask = all->all, *found;

        found = bpf_map_lookup_elem(&rules_by_cgroup, &cgroup_key);
        *ret_known = found;
        mask &= all->any_cgroup | (found ? *found : 0);

        found = bpf_map_lookup_elem(&rules_by_port, &port_key);
        mask &= all->any_port | (found ? *found : 0);

        if (mask & ~all->any_address) {
                __builtin_memcpy(address_key.address, end->address, sizeof(address_key.address));
                found = bpf_map_lookup_elem(&rules_by_address, &address_key);
                mask &= all->any_address | (found ? *found : 0);
        }
        return mask;
}

/* Judges a connection by the policy in force. "Port" means the one that the server listens on, or that the client
 * dialled: with NAT these are two. */
static __noinline int judge(const struct meshcut_identity *client, const struct meshcut_identity *server,
                            const struct meshcut_control *control, struct verdict *ret) {
        bool client_known, server_known;
        struct meshcut_rules *all;
        __u64 of_client, of_server, matched;
        __u32 slot;

        if (!client || !server || !control || !ret)
                return 0;
        slot = control->slot & (MESHCUT_POLICY_SLOTS - 1);
        ret->left = MESHCUT_LEFT_NO_RULE;
        ret->rule = MESHCUT_RULE_NONE;
        all = bpf_map_lookup_elem(&rules, &slot);
        if (!all)
                return 0;

        of_client = rules_of_end(client, all, slot, client->peer_port, &client_known);
        of_server = rules_of_end(server, all, slot, server->port, &server_known);

        matched = (of_client | of_server) & all->leave;
        if (matched) {
                ret->left = MESHCUT_LEFT_LEAVE;
                ret->rule = first_rule(matched);
                return 0;
        }

        /* A cgroup that is not known yet may turn out to be one that a rule leaves alone. */
        matched = of_client | of_server;
        if ((!client_known || !server_known) && (!matched || (all->leave & ~all->any_cgroup))) {
                ret->left = MESHCUT_LEFT_NEW_CGROUP;
                return 0;
        }
        if (!matched)
                return 0;
        ret->left = -1;
        ret->rule = first_rule(matched);
        ret->client_may_block = of_client & all->allow_blocking;
        ret->server_may_block = of_server & all->allow_blocking;
        return 0;
}
