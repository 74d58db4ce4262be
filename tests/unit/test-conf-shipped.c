/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The configuration that is shipped: nothing in it is wrong, its rules are active, and every key that the program knows
 * stands in it at its default. */

#include <fcntl.h>

#include "policy-file.h"
#include "policy-keys.h"

#include "test.h"

static Policy *load(const char *path) {
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        Policy *policy = NULL;
        int r;

        r = policy_load(path, &policy, &messages);
        if (messages.errors || messages.warnings)
                TEST_FAIL("%s", messages.errors ? messages.errors[0] : messages.warnings[0]);
        CHECK_INT(r, 0);
        return policy;
}

static void check_defaults(const Policy *policy) {
        CHECK(!policy->cgroup_root);
        for (Shortcut s = 0; s < SHORTCUT_MAX; s++)
                CHECK_INT(policy->shortcut[s], policy_defaults.shortcut[s]);
        CHECK_INT(policy->allowed_quirks, policy_defaults.allowed_quirks);
        CHECK_INT(policy->max_connections, policy_defaults.max_connections);
        CHECK_INT(policy->max_unread, policy_defaults.max_unread);
        CHECK_INT(policy->probation, policy_defaults.probation);
        CHECK_INT(policy->tcp_interval_usec, policy_defaults.tcp_interval_usec);
        CHECK_INT(policy->veth_mode, policy_defaults.veth_mode);
        CHECK_INT(strv_length(policy->interfaces), 0);
        CHECK_INT(strv_length(policy->uplinks), 0);
        CHECK_INT(strv_length(policy->exclude_interfaces), 0);
}

static void check_shipped_rules(const Policy *policy) {
        const Rule *units = policy_find_rule(policy, "sidecar-units");
        const Rule *ports = policy_find_rule(policy, "sidecar-ports");

        CHECK(units && ports);
        CHECK_INT(units->action, RULE_SHORTCUT);
        CHECK_INT(strv_length(units->cgroups), 4);
        CHECK_STR(units->cgroups[0], "/system.slice/**/envoy*.service");
        CHECK_INT(units->n_ports + units->n_addresses, 0);
        CHECK(!units->allow_blocking && !ports->allow_blocking);

        CHECK_INT(ports->n_ports, 2);
        CHECK_INT(ports->ports[0].first, 15001);
        CHECK_INT(ports->ports[1].last, 15006);
        CHECK_INT(strv_length(ports->cgroups) + ports->n_addresses, 0);
}

static void check_example_rule(const Policy *policy) {
        const Rule *rule = policy_find_rule(policy, "example");

        CHECK(rule);
        CHECK_INT(rule->action, RULE_SHORTCUT);
        CHECK_INT(strv_length(rule->cgroups) + rule->n_ports + rule->n_addresses, 0);
        CHECK(!rule->allow_blocking);
}

/* Copies a file, and takes the comment sign off every line like "#Key=" and "#[Rule". Returns how many keys it found
 * so. Each must be known. */
static size_t uncomment(const char *from, const char *to) {
        _cleanup_fclose_ FILE *in = fopen(from, "re"), *out = fopen(to, "we");
        _cleanup_free_ char *line = NULL;
        char section[64] = "", word[64];
        size_t allocated = 0, n = 0;

        CHECK(in && out);
        while (getline(&line, &allocated, in) >= 0) {
                const char *text = line;

                if (sscanf(line, "#[%63[A-Za-z]", word) == 1 || sscanf(line, "[%63[A-Za-z]", word) == 1) {
                        text += line[0] == '#';
                        strcpy(section, word);
                } else if (sscanf(line, "#%63[A-Za-z]", word) == 1 && line[1 + strlen(word)] == '=') {
                        if (!config_key_find(section, word))
                                TEST_FAIL("[%s] %s: unknown key", section, word);
                        text++;
                        n++;
                }
                CHECK(fputs(text, out) >= 0);
        }
        return n;
}

int main(int argc, char *argv[]) {
        _cleanup_policy_free_ Policy *shipped = NULL, *uncommented = NULL;
        char path[] = "/tmp/test-conf-shipped-XXXXXX";
        int fd;

        CHECK(argc == 2);
        shipped = load(argv[1]);
        check_defaults(shipped);
        CHECK_INT(shipped->n_rules, 2);
        check_shipped_rules(shipped);

        fd = mkstemp(path);
        CHECK(fd >= 0);
        close(fd);
        CHECK_INT(uncomment(argv[1], path), 17); /* all that interface.md has, and TCPInterval= */
        uncommented = load(path);
        unlink(path);
        check_defaults(uncommented);
        CHECK_INT(uncommented->n_rules, 3);
        check_shipped_rules(uncommented);
        check_example_rule(uncommented);
        return 0;
}
