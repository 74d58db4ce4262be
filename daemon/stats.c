// SPDX-License-Identifier: GPL-2.0-or-later

#include "stats.h"

#define NAME_OF_REASON(id, name) name,

static const char *const left_names[] = { MESHCUT_LEFT_REASONS(NAME_OF_REASON) };
static const char *const passed_names[] = { MESHCUT_PASSED_REASONS(NAME_OF_REASON) };
static const char *const veth_passed_names[] = { MESHCUT_VETH_PASSED_REASONS(NAME_OF_REASON) };

_Static_assert(ELEMENTSOF(left_names) == MESHCUT_LEFT_MAX, "a name for every reason");
_Static_assert(ELEMENTSOF(passed_names) == MESHCUT_PASSED_MAX, "a name for every reason");
_Static_assert(ELEMENTSOF(veth_passed_names) == MESHCUT_VETH_PASSED_MAX, "a name for every reason");

/* struct meshcut_counters has nothing but 64-bit counters. */
void counters_add(struct meshcut_counters *sum, const struct meshcut_counters *more) {
        uint64_t *s = (uint64_t *) sum;
        const uint64_t *m = (const uint64_t *) more;

        for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
                s[i] += m[i];
}

static int each_reason(const char *prefix, const char *const *names, const __u64 *values, size_t n,
                       stats_each_t each, void *userdata) {
        for (size_t i = 0; i < n; i++) {
                char name[64];
                int r;

                snprintf(name, sizeof(name), "%s.%s", prefix, names[i]);
                r = each(name, values[i], userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}

int stats_for_each(const struct meshcut_counters *c, stats_each_t each, void *userdata) {
        const struct {
                const char *name;
                uint64_t value;
        } plain[] = {
                { "socket.connections_paired", c->paired },
                /* The CPUs are not read at one instant: never show a negative number. */
                { "socket.connections_active", c->paired > c->closed ? c->paired - c->closed : 0 },
                { "socket.demoted", c->demoted },
                { "socket.messages_shortcut", c->messages_shortcut },
                { "socket.bytes_shortcut", c->bytes_shortcut },
                { "socket.bytes_tcp", c->bytes_tcp },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(plain); i++) {
                r = each(plain[i].name, plain[i].value, userdata);
                if (r < 0)
                        return r;
        }
        r = each_reason("socket.connections_left", left_names, c->left, MESHCUT_LEFT_MAX, each, userdata);
        if (r < 0)
                return r;
        return each_reason("socket.passed", passed_names, c->passed, MESHCUT_PASSED_MAX, each, userdata);
}

int stats_for_each_veth(const struct meshcut_veth_counters *c, stats_each_t each, void *userdata) {
        int r = each("veth.packets_shortcut", c->shortcut.packets, userdata);

        if (r >= 0)
                r = each("veth.bytes_shortcut", c->shortcut.bytes, userdata);
        return r < 0 ? r
                     : each_reason("veth.passed", veth_passed_names, c->passed.packets, MESHCUT_VETH_PASSED_MAX, each, userdata);
}
