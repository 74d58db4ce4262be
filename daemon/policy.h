/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the administrator wants, as a typed value. No I/O and no logging here: policy-file.c makes a Policy from
 * files, datapath.c and the manager act on it. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util.h"

#define POLICY_RULES_MAX 64
#define POLICY_RULE_NAME_MAX 63 /* bytes, without the terminating NUL */

/* A set of shortcuts, as Enable() and Disable() take it. */
typedef enum Shortcut {
        SHORTCUT_SOCKET,
        SHORTCUT_VETH,
        SHORTCUT_MAX,
        SHORTCUT_INVALID = -EINVAL,
} Shortcut;

/* Quirks of a kernel that AllowQuirks= can accept; used as bits: 1 << quirk. */
typedef enum Quirk {
        QUIRK_FIONREAD,
        QUIRK_SPLICE,
        QUIRK_MAX,
        QUIRK_INVALID = -EINVAL,
} Quirk;

typedef enum RuleAction {
        RULE_SHORTCUT,
        RULE_LEAVE,
        RULE_ACTION_MAX,
        RULE_ACTION_INVALID = -EINVAL,
} RuleAction;

typedef enum Probation {
        PROBATION_AUTO,
        PROBATION_YES,
        PROBATION_NO,
        PROBATION_MAX,
        PROBATION_INVALID = -EINVAL,
} Probation;

typedef enum VethMode {
        VETH_MODE_ESTABLISHED,
        VETH_MODE_DIRECT,
        VETH_MODE_MAX,
        VETH_MODE_INVALID = -EINVAL,
} VethMode;

typedef struct PortRange {
        uint16_t first, last; /* host byte order, both included, 1..65535 */
} PortRange;

typedef struct AddressPrefix {
        struct in6_addr address; /* IPv4 is held IPv4-mapped, host bits are cleared */
        uint8_t length;          /* 0..128; an IPv4 /n is held as 96 + n */
} AddressPrefix;

/* A selector that is empty matches every end; so a rule without any selector matches everything. */
typedef struct Rule {
        char *name;
        RuleAction action;
        char **cgroups; /* absolute globs, relative to the cgroup root: "/a.slice/x*.service" */
        PortRange *ports;
        size_t n_ports;
        AddressPrefix *addresses;
        size_t n_addresses;
        bool allow_blocking;
} Rule;

typedef struct Policy {
        char *cgroup_root;       /* NULL: the mount of cgroup v2 */
        bool shortcut[SHORTCUT_MAX];
        uint64_t allowed_quirks; /* bits of 1 << Quirk */

        uint32_t max_connections;
        uint64_t max_unread; /* bytes; 0: chosen by the service */
        Probation probation;
        uint64_t tcp_interval_usec; /* a direction passes a message by TCP at least this often */

        VethMode veth_mode;
        char **interfaces;
        char **uplinks;
        char **exclude_interfaces;

        Rule rules[POLICY_RULES_MAX];
        size_t n_rules;

        char **files; /* the files that this was read from, in the order in which they were read */
} Policy;

/* Every key at its default and no rule. */
extern const Policy policy_defaults;

/* A copy of the defaults on the heap. Returns NULL when out of memory. */
Policy *policy_new(void);
/* Takes NULL. Returns NULL. */
Policy *policy_free(Policy *policy);
DEFINE_CLEANUP(Policy *, policy_free);
#define _cleanup_policy_free_ _cleanup_(policy_freep)

/* Finds or appends the rule of that name (case-insensitive). Returns NULL with errno ENOBUFS when there are
 * POLICY_RULES_MAX already, or ENOMEM. The rule belongs to the policy. */
Rule *policy_rule(Policy *policy, const char *name);
const Rule *policy_find_rule(const Policy *policy, const char *name);

/* Parsers of single values. They return 0, or a negative errno and leave the output alone: -EINVAL for a malformed
 * value, -ERANGE for one out of range. */
int port_range_from_string(const char *s, PortRange *ret);
int address_prefix_from_string(const char *s, AddressPrefix *ret);
int boolean_from_string(const char *s, bool *ret);
int number_from_string(const char *s, uint64_t *ret); /* decimal digits only */
int size_from_string(const char *s, uint64_t *ret);   /* "4096", "64K", "1M", "1G" */
int usec_from_string(const char *s, uint64_t *ret);   /* "60", "100ms", "1min 30s" */

/* Tables between enums and the words used in files and on the bus. *_from_string() returns the type's _INVALID. */
const char *shortcut_to_string(Shortcut shortcut);
Shortcut shortcut_from_string(const char *s);
const char *quirk_to_string(Quirk quirk);
Quirk quirk_from_string(const char *s);
const char *rule_action_to_string(RuleAction action);
RuleAction rule_action_from_string(const char *s);
const char *probation_to_string(Probation probation);
Probation probation_from_string(const char *s);
const char *veth_mode_to_string(VethMode mode);
VethMode veth_mode_from_string(const char *s);
