/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What datapath-socket.c (life of the maps and programs), datapath-policy.c (what stands in them) and datapath-guard.c
 * share. For nobody else: the rest of the daemon sees datapath.h. */

#include <bpf/bpf.h>

#include "datapath.h"

enum {
        MAP_CONTROL,
        MAP_ABOUT,
        MAP_HANDSHAKES,
        MAP_ENDS,
        MAP_SOCKETS,
        MAP_COUNTERS,
        MAP_RULES,
        MAP_RULES_BY_CGROUP,
        MAP_RULES_BY_PORT,
        MAP_RULES_BY_ADDRESS,
        MAP_RULE_NAMES,
        MAP_READERS,
        MAP_MAX,
};

/* Where in a cgroup programs are attached; in this order, so that no option of a new member is missed. */
enum {
        HOOK_SETSOCKOPT,
        HOOK_SOCKOPS,
        HOOK_MAX,
};

#define PORTS 65536

/* Which rule has which index, that is bit, in the data path. */
typedef struct RuleNames {
        struct meshcut_rule_name rules[MESHCUT_RULES_MAX];
} RuleNames;

struct SocketDatapath {
        char *state_dir;
        char *directory; /* state_dir/socket */
        const void *programs_bytes; /* the object file for this kernel */
        size_t programs_size;
        int maps[MAP_MAX];
        int programs[HOOK_MAX];
        int links[HOOK_MAX]; /* -1: not attached */
        struct meshcut_about about;
        struct meshcut_control control;
        RuleNames names; /* of the policy in force */
        __u64 *ports; /* rules_by_port, mapped */
        bool guarded; /* a guard watches for splice() */
};

/* Of the guard's programs; see pins_hash(). */
uint64_t datapath_guard_hash(void);
/* Removes the pins of a guard, this daemon's or an earlier one's. */
void datapath_remove_guard_pins(const char *directory);

/* Adds to the number of pairs of a rule that ended. Not atomic against the programs: for when none run. */
int datapath_count_closed(SocketDatapath *dp, uint32_t rule, uint64_t n);

/* The key of maps with one element. */
static const uint32_t zero = 0;

static inline int map_update(int fd, const void *key, const void *value) {
        return bpf_map_update_elem(fd, key, value, BPF_ANY) < 0 ? -errno : 0;
}
