/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The policy as a value: its defaults, its rules, and the words, numbers and ranges that it is written in. */

#include "policy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>

const Policy policy_defaults = {
        .shortcut = { [SHORTCUT_SOCKET] = true },
        .max_connections = 65536,
        .tcp_interval_usec = 60 * USEC_PER_SEC,
};

Policy *policy_new(void) {
        Policy *policy;

        policy = malloc(sizeof(*policy));
        if (policy)
                *policy = policy_defaults;
        return policy;
}

static void rule_done(Rule *rule) {
        free(rule->name);
        strv_free(rule->cgroups);
        free(rule->ports);
        free(rule->addresses);
}

Policy *policy_free(Policy *policy) {
        if (!policy)
                return NULL;

        free(policy->cgroup_root);
        strv_free(policy->interfaces);
        strv_free(policy->uplinks);
        strv_free(policy->exclude_interfaces);
        for (size_t i = 0; i < policy->n_rules; i++)
                rule_done(&policy->rules[i]);
        strv_free(policy->files);
        free(policy);
        return NULL;
}

const Rule *policy_find_rule(const Policy *policy, const char *name) {
        for (size_t i = 0; i < policy->n_rules; i++)
                if (strcasecmp(policy->rules[i].name, name) == 0)
                        return &policy->rules[i];
        return NULL;
}

Rule *policy_rule(Policy *policy, const char *name) {
        const Rule *found;
        char *copy;

        found = policy_find_rule(policy, name);
        if (found)
                return &policy->rules[found - policy->rules];

        if (policy->n_rules == POLICY_RULES_MAX) {
                errno = ENOBUFS;
                return NULL;
        }
        copy = strdup(name);
        if (!copy)
                return NULL;
        policy->rules[policy->n_rules] = (Rule) { .name = copy };
        return &policy->rules[policy->n_rules++];
}

/* Takes decimal digits off the front of *s. */
static int take_number(const char **s, uint64_t *ret) {
        const char *p = *s;
        uint64_t n = 0;

        if (!isdigit((unsigned char) *p))
                return -EINVAL;
        for (; isdigit((unsigned char) *p); p++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
                        return -ERANGE;
        *s = p;
        *ret = n;
        return 0;
}

int number_from_string(const char *s, uint64_t *ret) {
        uint64_t n;
        int r;

        r = take_number(&s, &n);
        if (r < 0)
                return r;
        if (*s)
                return -EINVAL;
        *ret = n;
        return 0;
}

int boolean_from_string(const char *s, bool *ret) {
        static const char *const words[][2] = { { "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" } };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                for (size_t value = 0; value < 2; value++)
                        if (strcasecmp(s, words[i][value]) == 0) {
                                *ret = value;
                                return 0;
                        }
        return -EINVAL;
}

int size_from_string(const char *s, uint64_t *ret) {
        static const char units[] = "KMG";
        uint64_t n;
        int r;

        r = take_number(&s, &n);
        if (r < 0)
                return r;
        if (*s) {
                const char *unit = strchr(units, *s);

                if (!unit || s[1])
                        return -EINVAL;
                if (__builtin_mul_overflow(n, 1ULL << (10 * (unit - units + 1)), &n))
                        return -ERANGE;
        }
        *ret = n;
        return 0;
}

int usec_from_string(const char *s, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                { "ms", USEC_PER_MSEC },
                { "min", 60 * USEC_PER_SEC },
                { "s", USEC_PER_SEC },
        };
        uint64_t sum = 0, n;
        int r;

        s += strspn(s, " \t");
        do {
                uint64_t factor = USEC_PER_SEC;
                size_t length;

                r = take_number(&s, &n);
                if (r < 0)
                        return r;
                s += strspn(s, " \t");
                length = strspn(s, "abcdefghijklmnopqrstuvwxyz");
                if (length > 0) {
                        size_t i = 0;

                        while (i < ELEMENTSOF(units) &&
                               (strlen(units[i].name) != length || strncmp(s, units[i].name, length) != 0))
                                i++;
                        if (i == ELEMENTSOF(units))
                                return -EINVAL;
                        factor = units[i].usec;
                        s += length;
                } else if (*s)
                        return -EINVAL; /* "1 30s": what would the 1 be? */
                if (__builtin_mul_overflow(n, factor, &n) || __builtin_add_overflow(sum, n, &sum))
                        return -ERANGE;
                s += strspn(s, " \t");
        } while (*s);

        *ret = sum;
        return 0;
}

int port_range_from_string(const char *s, PortRange *ret) {
        uint64_t first, last;
        int r;

        r = take_number(&s, &first);
        if (r < 0)
                return r;
        last = first;
        if (*s == '-') {
                s++;
                r = take_number(&s, &last);
                if (r < 0)
                        return r;
        }
        if (*s || first > last)
                return -EINVAL;
        if (first < 1 || last > UINT16_MAX)
                return -ERANGE;
        *ret = (PortRange) { first, last };
        return 0;
}

int address_prefix_from_string(const char *s, AddressPrefix *ret) {
        const char *slash = strchrnul(s, '/');
        char text[INET6_ADDRSTRLEN];
        AddressPrefix prefix = {};
        uint64_t length;
        bool mapped;
        int r;

        if ((size_t) (slash - s) >= sizeof(text))
                return -EINVAL;
        *(char *) mempcpy(text, s, slash - s) = 0;

        mapped = inet_pton(AF_INET, text, &prefix.address.s6_addr[12]) == 1;
        if (mapped)
                prefix.address.s6_addr[10] = prefix.address.s6_addr[11] = 0xff;
        else if (inet_pton(AF_INET6, text, &prefix.address) != 1)
                return -EINVAL;

        length = mapped ? 32 : 128;
        if (*slash) {
                r = number_from_string(slash + 1, &length);
                if (r < 0)
                        return r;
                if (length > (mapped ? 32 : 128))
                        return -ERANGE;
        }
        prefix.length = length + (mapped ? 96 : 0);

        for (size_t bit = prefix.length; bit < 128; bit++)
                prefix.address.s6_addr[bit / 8] &= ~(0x80 >> bit % 8);
        *ret = prefix;
        return 0;
}

static const char *const shortcut_table[SHORTCUT_MAX] = {
        [SHORTCUT_SOCKET] = "socket",
        [SHORTCUT_VETH] = "veth",
};

static const char *const quirk_table[QUIRK_MAX] = {
        [QUIRK_FIONREAD] = "fionread",
        [QUIRK_SPLICE] = "splice",
};

static const char *const rule_action_table[RULE_ACTION_MAX] = {
        [RULE_SHORTCUT] = "shortcut",
        [RULE_LEAVE] = "leave",
};

static const char *const probation_table[PROBATION_MAX] = {
        [PROBATION_AUTO] = "auto",
        [PROBATION_YES] = "yes",
        [PROBATION_NO] = "no",
};

static const char *const veth_mode_table[VETH_MODE_MAX] = {
        [VETH_MODE_ESTABLISHED] = "established",
        [VETH_MODE_DIRECT] = "direct",
};

static int table_find(const char *const *table, size_t n, const char *s) {
        for (size_t i = 0; i < n; i++)
                if (streq(table[i], s))
                        return i;
        return -EINVAL;
}

/* Values outside the table have no word: NULL. */
#define DEFINE_TABLE(name, type)                                                       \
        const char *name##_to_string(type value) {                                     \
                return (size_t) value < ELEMENTSOF(name##_table) ? name##_table[value] \
                                                                 : NULL;               \
        }                                                                              \
        type name##_from_string(const char *s) {                                       \
                return table_find(name##_table, ELEMENTSOF(name##_table), s);          \
        }                                                                              \
        struct name##_swallow_semicolon

DEFINE_TABLE(shortcut, Shortcut);
DEFINE_TABLE(quirk, Quirk);
DEFINE_TABLE(rule_action, RuleAction);
DEFINE_TABLE(probation, Probation);
DEFINE_TABLE(veth_mode, VethMode);
