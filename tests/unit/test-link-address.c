/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "link-address.h"

#include <arpa/inet.h>

#include "test.h"

static RtnlAddress parse(const char *s, uint8_t prefix) {
        RtnlAddress address = { .ifindex = 1, .prefix = prefix, .usable = true };
        char mapped[64];

        snprintf(mapped, sizeof(mapped), "%s%s", strchr(s, ':') ? "" : "::ffff:", s);
        CHECK_INT(inet_pton(AF_INET6, mapped, address.address), 1);
        memcpy(address.remote, address.address, sizeof(address.remote));
        return address;
}

static const struct {
        const char *address;
        bool kept;
} cases[] = {
        { "10.0.0.1", true },
        { "169.254.1.1", true },
        { "223.255.255.255", true },
        { "0.0.0.0", false },
        { "127.0.0.1", false },
        { "127.255.0.1", false },
        { "224.0.0.1", false },
        { "255.255.255.255", false },
        { "fd00::1", true },
        { "2001:db8::1", true },
        { "fec0::1", true },
        { "::2", true },
        { "::", false },
        { "::1", false },
        { "fe80::1", false },
        { "febf::1", false },
        { "ff02::1", false },
};

static void check_list(const AddressSet *set, size_t expected, uint8_t last_of_first) {
        _cleanup_free_ uint8_t(*list)[16] = NULL;
        size_t n = 99;

        CHECK_INT(address_set_list(set, &list, &n), 0);
        CHECK_INT(n, expected);
        CHECK(!list == (expected == 0));
        for (size_t i = 1; i < n; i++)
                CHECK(memcmp(list[i - 1], list[i], 16) < 0);
        if (n > 0)
                CHECK_INT(list[0][15], last_of_first);
}

int main(void) {
        RtnlAddress a = parse("10.0.0.2", 24), a32 = parse("10.0.0.2", 32), b = parse("10.0.0.1", 24), far = a32;
        AddressSet set = {};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RtnlAddress address = parse(cases[i].address, 64);
                AddressSet one = {};

                if (address_set_update(&one, &address, false) != cases[i].kept)
                        TEST_FAIL("%s must %sbe kept", cases[i].address, cases[i].kept ? "" : "not ");
                address_set_done(&one);
        }

        check_list(&set, 0, 0);
        CHECK_INT(address_set_update(&set, &a, false), 1);
        CHECK_INT(address_set_update(&set, &a, false), 0);
        CHECK_INT(address_set_update(&set, &b, false), 1);
        check_list(&set, 2, 1);
        /* The same with another prefix or another far end stays when one of them goes. */
        far.remote[15] = 9;
        CHECK_INT(address_set_update(&set, &a32, false), 1);
        CHECK_INT(address_set_update(&set, &far, false), 1);
        check_list(&set, 2, 1);
        CHECK_INT(address_set_update(&set, &a, true), 1);
        CHECK_INT(address_set_update(&set, &a, true), 0);
        CHECK_INT(address_set_update(&set, &far, true), 1);
        check_list(&set, 2, 1);
        CHECK_INT(address_set_update(&set, &a32, true), 1);
        check_list(&set, 1, 1);

        /* One that cannot be used (any more) is none. */
        a.usable = false;
        CHECK_INT(address_set_update(&set, &a, false), 0);
        b.usable = false;
        CHECK_INT(address_set_update(&set, &b, false), 1);
        check_list(&set, 0, 0);

        /* A complete list. */
        a.usable = b.usable = true;
        CHECK_INT(address_set_update(&set, &a, false), 1);
        CHECK_INT(address_set_update(&set, &b, false), 1);
        address_set_begin(&set);
        CHECK_INT(address_set_update(&set, &a, false), 0);
        CHECK(address_set_end(&set));
        check_list(&set, 1, 2);
        address_set_begin(&set);
        CHECK_INT(address_set_update(&set, &a, false), 0);
        CHECK(!address_set_end(&set));
        address_set_begin(&set);
        CHECK(address_set_end(&set));
        check_list(&set, 0, 0);
        address_set_done(&set);
        return 0;
}
