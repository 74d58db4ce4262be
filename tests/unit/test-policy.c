/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "policy.h"

#include <arpa/inet.h>

#include "test.h"

static void test_rules(void) {
        _cleanup_policy_free_ Policy *policy = policy_new();
        char name[16];
        Rule *rule;

        CHECK(policy);
        CHECK_INT(policy->n_rules, 0);
        CHECK(policy->shortcut[SHORTCUT_SOCKET] && !policy->shortcut[SHORTCUT_VETH]);
        CHECK_INT(policy->max_connections, 65536);
        CHECK_INT(policy->max_unread, 0);
        CHECK_INT(policy->tcp_interval_usec, 60000000);

        CHECK(!policy_find_rule(policy, "rule0"));
        for (unsigned i = 0; i < POLICY_RULES_MAX; i++) {
                snprintf(name, sizeof(name), "Rule%u", i);
                rule = policy_rule(policy, name);
                CHECK(rule == &policy->rules[i]);
                CHECK_STR(rule->name, name);
                CHECK_INT(rule->action, RULE_SHORTCUT);
        }
        CHECK_INT(policy->n_rules, POLICY_RULES_MAX);
        CHECK(policy_rule(policy, "rULE63") == &policy->rules[63]);
        CHECK(policy_find_rule(policy, "rule7") == &policy->rules[7]);
        errno = 0;
        CHECK(!policy_rule(policy, "one more"));
        CHECK_INT(errno, ENOBUFS);
        CHECK_INT(policy->n_rules, POLICY_RULES_MAX);

        CHECK(!policy_free(NULL));
}

typedef struct NumberCase {
        const char *text;
        int r;
        uint64_t value;
} NumberCase;

static void check_numbers(const NumberCase *cases, size_t n_cases, int (*parse)(const char *s, uint64_t *ret)) {
        for (size_t i = 0; i < n_cases; i++) {
                uint64_t n = 42;
                int r = parse(cases[i].text, &n);

                if (r != cases[i].r || n != (r < 0 ? 42 : cases[i].value))
                        TEST_FAIL("\"%s\": %d, %llu", cases[i].text, r, (unsigned long long) n);
        }
}

static void test_numbers(void) {
        static const NumberCase numbers[] = {
                { "0", 0, 0 },
                { "18446744073709551615", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE },
                { "99999999999999999999999", -ERANGE },
                { "", -EINVAL },
                { "-1", -EINVAL },
                { "+1", -EINVAL },
                { " 1", -EINVAL },
                { "1 ", -EINVAL },
                { "0x10", -EINVAL },
        }, sizes[] = {
                { "4096", 0, 4096 },
                { "4K", 0, 4096 },
                { "3M", 0, 3 << 20 },
                { "2G", 0, 2ULL << 30 },
                { "17179869184G", -ERANGE },
                { "4k", -EINVAL },
                { "4KB", -EINVAL },
                { "4 K", -EINVAL },
                { "K", -EINVAL },
                { "1.5M", -EINVAL },
        }, times[] = {
                { "60", 0, 60000000 },
                { "100ms", 0, 100000 },
                { "2s", 0, 2000000 },
                { "1min", 0, 60000000 },
                { "1min 30s", 0, 90000000 },
                { "1min30s", 0, 90000000 },
                { " 5 s ", 0, 5000000 },
                { "1min 30", 0, 90000000 },
                { "1 30s", -EINVAL },
                { "18446744073710s", -ERANGE },
                { "18446744073709s 999ms", -ERANGE },
                { "", -EINVAL },
                { "s", -EINVAL },
                { "5m", -EINVAL },
                { "5S", -EINVAL },
                { "-5s", -EINVAL },
                { "1.5s", -EINVAL },
                { "5s,", -EINVAL },
        };

        check_numbers(numbers, ELEMENTSOF(numbers), number_from_string);
        check_numbers(sizes, ELEMENTSOF(sizes), size_from_string);
        check_numbers(times, ELEMENTSOF(times), usec_from_string);
}

static void test_booleans(void) {
        static const char *const yes[] = { "yes", "true", "on", "1", "YES", "True" };
        static const char *const no[] = { "no", "false", "off", "0", "Off" };
        static const char *const neither[] = { "", "y", "2", "yes ", "maybe" };
        bool b;

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                b = false;
                CHECK(boolean_from_string(yes[i], &b) == 0 && b);
        }
        for (size_t i = 0; i < ELEMENTSOF(no); i++) {
                b = true;
                CHECK(boolean_from_string(no[i], &b) == 0 && !b);
        }
        for (size_t i = 0; i < ELEMENTSOF(neither); i++) {
                b = true;
                CHECK(boolean_from_string(neither[i], &b) == -EINVAL && b);
        }
}

static void test_ports(void) {
        static const struct {
                const char *text;
                int r;
                uint16_t first, last;
        } cases[] = {
                { "1", 0, 1, 1 },
                { "65535", 0, 65535, 65535 },
                { "8000-8999", 0, 8000, 8999 },
                { "80-80", 0, 80, 80 },
                { "0", -ERANGE },
                { "65536", -ERANGE },
                { "0-10", -ERANGE },
                { "10-65536", -ERANGE },
                { "99999999999999999999", -ERANGE },
                { "90-80", -EINVAL },
                { "80-", -EINVAL },
                { "-80", -EINVAL },
                { "80-90-100", -EINVAL },
                { "http", -EINVAL },
                { "", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PortRange range = { 7, 7 };
                int r = port_range_from_string(cases[i].text, &range);

                if (r != cases[i].r)
                        TEST_FAIL("port \"%s\": %d", cases[i].text, r);
                CHECK_INT(range.first, r < 0 ? 7 : cases[i].first);
                CHECK_INT(range.last, r < 0 ? 7 : cases[i].last);
        }
}

static void test_addresses(void) {
        static const struct {
                const char *text;
                int r;
                const char *address;
                uint8_t length;
        } cases[] = {
                { "10.0.0.0/8", 0, "::ffff:10.0.0.0", 104 },
                { "10.1.2.3/8", 0, "::ffff:10.0.0.0", 104 },
                { "10.1.2.3/31", 0, "::ffff:10.1.2.2", 127 },
                { "192.0.2.1", 0, "::ffff:192.0.2.1", 128 },
                { "0.0.0.0/0", 0, "::ffff:0.0.0.0", 96 },
                { "255.255.255.255/0", 0, "::ffff:0.0.0.0", 96 },
                { "fd00::/8", 0, "fd00::", 8 },
                { "fd12:3456::1/12", 0, "fd10::", 12 },
                { "::1", 0, "::1", 128 },
                { "::/0", 0, "::", 0 },
                { "::ffff:10.1.0.0/104", 0, "::ffff:10.0.0.0", 104 },
                { "10.0.0.0/33", -ERANGE },
                { "fd00::/129", -ERANGE },
                { "10.0.0.0/99999999999999999999", -ERANGE },
                { "10.0.0.0/", -EINVAL },
                { "10.0.0.0/-1", -EINVAL },
                { "10.0.0.0/255.0.0.0", -EINVAL },
                { "10.0.0", -EINVAL },
                { "10.0.0.256", -EINVAL },
                { "fd00:::/8", -EINVAL },
                { "fe80::1%lo", -EINVAL },
                { "/8", -EINVAL },
                { "", -EINVAL },
                { "localhost", -EINVAL },
                { "0000000000000000000000000000000000000000000000000000000000", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                AddressPrefix prefix = { .length = 77 };
                struct in6_addr expected;
                int r = address_prefix_from_string(cases[i].text, &prefix);

                if (r != cases[i].r)
                        TEST_FAIL("address \"%s\": %d", cases[i].text, r);
                CHECK_INT(prefix.length, r < 0 ? 77 : cases[i].length);
                if (r < 0)
                        continue;
                CHECK_INT(inet_pton(AF_INET6, cases[i].address, &expected), 1);
                if (memcmp(&prefix.address, &expected, sizeof(expected)) != 0)
                        TEST_FAIL("address \"%s\" is not %s", cases[i].text, cases[i].address);
        }
}

static void test_tables(void) {
        for (Shortcut s = 0; s < SHORTCUT_MAX; s++)
                CHECK_INT(shortcut_from_string(shortcut_to_string(s)), s);
        for (Quirk q = 0; q < QUIRK_MAX; q++)
                CHECK_INT(quirk_from_string(quirk_to_string(q)), q);
        for (RuleAction a = 0; a < RULE_ACTION_MAX; a++)
                CHECK_INT(rule_action_from_string(rule_action_to_string(a)), a);
        for (Probation p = 0; p < PROBATION_MAX; p++)
                CHECK_INT(probation_from_string(probation_to_string(p)), p);
        for (VethMode m = 0; m < VETH_MODE_MAX; m++)
                CHECK_INT(veth_mode_from_string(veth_mode_to_string(m)), m);

        CHECK_STR(shortcut_to_string(SHORTCUT_VETH), "veth");
        CHECK_INT(shortcut_from_string("vethx"), SHORTCUT_INVALID);
        CHECK_INT(quirk_from_string(""), QUIRK_INVALID);
        CHECK(!shortcut_to_string(SHORTCUT_MAX));
        CHECK(!probation_to_string(PROBATION_INVALID));
}

int main(void) {
        test_rules();
        test_numbers();
        test_booleans();
        test_ports();
        test_addresses();
        test_tables();
        return 0;
}
