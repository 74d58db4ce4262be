// SPDX-License-Identifier: GPL-2.0-or-later

/* A policy -> the bit vectors that the programs look up. */

#include <bpf/libbpf.h>

#include "datapath-socket.h"
#include "glob.h"
#include "stats.h"

/* An unread bound of its own keeps a receiver with a huge buffer from holding too much; see within_bounds(). */
#define MAX_UNREAD_DEFAULT (4ULL * 1024 * 1024)
/* Each queued message pins about 1 KiB of kernel memory that nothing accounts: 256 KiB a connection at the most, besides
 * what TCP queues. */
#define MAX_QUEUED 256
/* Connections of a cgroup that is not known yet: enough to see how it reads, too few to matter. */
#define PROBATION 4

/* Adds the counters of an index to those of no rule, and clears them. */
static int fold_counters(SocketDatapath *dp, uint32_t from) {
        int n = libbpf_num_possible_cpus();
        uint32_t to = MESHCUT_RULE_NONE;
        _cleanup_free_ struct meshcut_counters *old = NULL, *sum = NULL;

        if (n < 0)
                return n;
        old = calloc(n, sizeof(*old));
        sum = calloc(n, sizeof(*sum));
        if (!old || !sum)
                return -ENOMEM;
        if (bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &from, old) < 0 ||
            bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &to, sum) < 0)
                return -errno;
        for (int i = 0; i < n; i++)
                counters_add(&sum[i], &old[i]);
        memset(old, 0, n * sizeof(*old));
        if (bpf_map_update_elem(dp->maps[MAP_COUNTERS], &to, sum, BPF_ANY) < 0 ||
            bpf_map_update_elem(dp->maps[MAP_COUNTERS], &from, old, BPF_ANY) < 0)
                return -errno;
        return 0;
}

static int rule_index(const RuleNames *names, const char *name) {
        for (int i = 0; i < MESHCUT_RULES_MAX; i++)
                if (strcasecmp(names->rules[i].name, name) == 0)
                        return i;
        return -ENOENT;
}

/* An index that no rule has, or whose rule is in neither policy; or, with very many rules, one whose rule goes. */
static int free_index(const SocketDatapath *dp, const RuleNames *names, const Policy *policy) {
        struct meshcut_rules in_force = {};
        int going = -ENOBUFS, index = rule_index(names, "");

        if (index >= 0)
                return index;
        (void) bpf_map_lookup_elem(dp->maps[MAP_RULES], &dp->control.slot, &in_force);
        for (int i = 0; i < MESHCUT_RULES_MAX; i++) {
                if (policy_find_rule(policy, names->rules[i].name))
                        continue;
                if (!(in_force.all & (1ULL << i)))
                        return i;
                going = i;
        }
        return going;
}

/* Gives every rule of the policy an index; one that has an index keeps it, and its counters. What the former rule of an
 * index had counted goes to MESHCUT_RULE_NONE, so that the sum stays. */
static int assign_indices(SocketDatapath *dp, const Policy *policy, RuleNames *names) {
        for (size_t i = 0; i < policy->n_rules; i++) {
                const char *name = policy->rules[i].name;
                int r, index = rule_index(names, name);

                if (index >= 0)
                        continue;
                index = free_index(dp, names, policy);
                if (index < 0)
                        return index;
                if (!isempty(names->rules[index].name)) {
                        r = fold_counters(dp, index);
                        if (r < 0)
                                return r;
                }
                snprintf(names->rules[index].name, sizeof(names->rules[index].name), "%s", name);
        }
        return 0;
}

static int write_names(SocketDatapath *dp, const RuleNames *names) {
        for (uint32_t i = 0; i < MESHCUT_RULES_MAX; i++) {
                int r = map_update(dp->maps[MAP_RULE_NAMES], &i, &names->rules[i]);

                if (r < 0)
                        return r;
        }
        dp->names = *names;
        return 0;
}

static __u64 rules_of_cgroup(const RuleNames *names, const Policy *policy, const char *path) {
        __u64 mask = 0;

        for (size_t i = 0; i < policy->n_rules; i++)
                for (char **glob = policy->rules[i].cgroups; glob && *glob; glob++)
                        if (glob_match(*glob, path)) {
                                mask |= 1ULL << rule_index(names, policy->rules[i].name);
                                break;
                        }
        return mask;
}

static bool prefix_contains(const AddressPrefix *outer, const AddressPrefix *inner) {
        const uint8_t *a = outer->address.s6_addr, *b = inner->address.s6_addr;
        unsigned bytes = outer->length / 8, bits = outer->length % 8;

        if (outer->length > inner->length || memcmp(a, b, bytes) != 0)
                return false;
        return bits == 0 || ((a[bytes] ^ b[bytes]) >> (8 - bits)) == 0;
}

static __u64 rules_of_prefix(const RuleNames *names, const Policy *policy, const AddressPrefix *prefix) {
        __u64 mask = 0;

        for (size_t i = 0; i < policy->n_rules; i++)
                for (size_t j = 0; j < policy->rules[i].n_addresses; j++)
                        if (prefix_contains(&policy->rules[i].addresses[j], prefix))
                                mask |= 1ULL << rule_index(names, policy->rules[i].name);
        return mask;
}

/* Deletes the entries of one slot from a map whose key has it at that offset. */
static int clear_slot(int fd, size_t key_size, size_t slot_offset, uint32_t slot) {
        _cleanup_free_ char *keys = NULL;
        size_t n = 0, allocated = 0;
        char *previous = NULL;
        char key[64];

        while (bpf_map_get_next_key(fd, previous, key) == 0) {
                uint32_t found;

                previous = key;
                memcpy(&found, key + slot_offset, sizeof(found));
                if (found != slot)
                        continue;
                if (n == allocated) {
                        char *grown = realloc(keys, (allocated = MAX(2 * allocated, 256U)) * key_size);

                        if (!grown)
                                return -ENOMEM;
                        keys = grown;
                }
                memcpy(keys + n++ * key_size, key, key_size);
        }
        for (size_t i = 0; i < n; i++)
                (void) bpf_map_delete_elem(fd, keys + i * key_size);
        return 0;
}

static int write_cgroup(SocketDatapath *dp, const Policy *policy, const RuleNames *names, uint32_t slot,
                        uint64_t id, const char *path) {
        struct meshcut_cgroup_key key = { .id = id, .slot = slot };
        __u64 mask = rules_of_cgroup(names, policy, path);

        return map_update(dp->maps[MAP_RULES_BY_CGROUP], &key, &mask);
}

static int write_selectors(SocketDatapath *dp, const Policy *policy, const RuleNames *names, uint32_t slot) {
        struct meshcut_rules rules = {};
        __u64 *ports = dp->ports + slot * PORTS;
        int r;

        memset(ports, 0, PORTS * sizeof(*ports));
        for (size_t i = 0; i < policy->n_rules; i++) {
                const Rule *rule = &policy->rules[i];
                __u64 bit = 1ULL << rule_index(names, rule->name);

                rules.all |= bit;
                rules.leave |= rule->action == RULE_LEAVE ? bit : 0;
                rules.allow_blocking |= rule->action == RULE_SHORTCUT && rule->allow_blocking ? bit : 0;
                rules.any_cgroup |= strv_length(rule->cgroups) == 0 ? bit : 0;
                rules.any_port |= rule->n_ports == 0 ? bit : 0;
                rules.any_address |= rule->n_addresses == 0 ? bit : 0;

                for (size_t j = 0; j < rule->n_ports; j++)
                        for (uint32_t port = rule->ports[j].first; port <= rule->ports[j].last; port++)
                                ports[port] |= bit;
                for (size_t j = 0; j < rule->n_addresses; j++) {
                        const AddressPrefix *prefix = &rule->addresses[j];
                        struct meshcut_address_key key = { .prefix_length = 32 + prefix->length, .slot = slot };
                        __u64 mask = rules_of_prefix(names, policy, prefix);

                        memcpy(key.address, &prefix->address, sizeof(key.address));
                        r = map_update(dp->maps[MAP_RULES_BY_ADDRESS], &key, &mask);
                        if (r < 0)
                                return r;
                }
        }
        return map_update(dp->maps[MAP_RULES], &slot, &rules);
}

/* By itself only where somebody watches, and the operator has not said that there is nothing to see. */
static uint32_t probation(const SocketDatapath *dp, const Policy *policy) {
        switch (policy->probation) {
        case PROBATION_YES:
                return PROBATION;
        case PROBATION_NO:
                return 0;
        default:
                return dp->guarded && !(policy->allowed_quirks & (1ULL << QUIRK_SPLICE)) ? PROBATION : 0;
        }
}

int socket_datapath_apply(SocketDatapath *dp, const Policy *policy, const CgroupPath *cgroups, size_t n_cgroups) {
        struct meshcut_control control = dp->control;
        RuleNames names = dp->names;
        uint32_t slot = (control.slot + 1) % MESHCUT_POLICY_SLOTS;
        int r;

        r = assign_indices(dp, policy, &names);
        if (r < 0)
                return r;
        r = clear_slot(dp->maps[MAP_RULES_BY_CGROUP], sizeof(struct meshcut_cgroup_key),
                       offsetof(struct meshcut_cgroup_key, slot), slot);
        if (r < 0)
                return r;
        r = clear_slot(dp->maps[MAP_RULES_BY_ADDRESS], sizeof(struct meshcut_address_key),
                       offsetof(struct meshcut_address_key, slot), slot);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_cgroups; i++) {
                r = write_cgroup(dp, policy, &names, slot, cgroups[i].id, cgroups[i].path);
                if (r < 0)
                        return r;
        }
        r = write_selectors(dp, policy, &names, slot);
        if (r < 0)
                return r;

        control.slot = slot;
        control.generation++;
        control.max_unread = policy->max_unread ?: MAX_UNREAD_DEFAULT;
        control.max_queued = MAX_QUEUED;
        control.probation = probation(dp, policy);
        control.tcp_interval_ns = policy->tcp_interval_usec * NSEC_PER_USEC;
        r = map_update(dp->maps[MAP_CONTROL], &zero, &control);
        if (r < 0)
                return r;
        dp->control = control;
        return write_names(dp, &names);
}

int datapath_count_closed(SocketDatapath *dp, uint32_t rule, uint64_t n) {
        _cleanup_free_ struct meshcut_counters *cpus = NULL;
        int n_cpus = libbpf_num_possible_cpus();

        if (n_cpus < 0)
                return n_cpus;
        cpus = calloc(n_cpus, sizeof(*cpus));
        if (!cpus)
                return -ENOMEM;
        if (bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &rule, cpus) < 0)
                return -errno;
        cpus[0].closed += n;
        return map_update(dp->maps[MAP_COUNTERS], &rule, cpus);
}

int socket_datapath_update_cgroup(SocketDatapath *dp, const Policy *policy, uint64_t id, const char *path) {
        struct meshcut_cgroup_key key = { .id = id, .slot = dp->control.slot };

        if (path)
                return write_cgroup(dp, policy, &dp->names, dp->control.slot, id, path);
        (void) bpf_map_delete_elem(dp->maps[MAP_READERS], &id);
        return bpf_map_delete_elem(dp->maps[MAP_RULES_BY_CGROUP], &key) < 0 && errno != ENOENT ? -errno : 0;
}
