/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "glob.h"

#include <string.h>
#include <time.h>

#include "test.h"

static const struct {
        const char *pattern, *path;
        bool matches;
} cases[] = {
        { "", "", true },
        { "", "a", false },
        { "a", "", false },
        { "/a", "/a", true },
        { "/a", "/ab", false },
        { "/ab", "/a", false },

        { "/*", "/", true },
        { "/*", "/a", true },
        { "/*", "/a/b", false },
        { "/a*", "/a", true },
        { "/*.service", "/a.service.service", true },
        { "/a*b*c", "/axbxbxc", true },
        { "/a*b*c", "/axbxbx", false },
        { "/*/b", "/a/b", true },
        { "/*/b", "/b", false },
        { "/*b/*d", "/abb/cdd", true },
        { "*", "eth0", true },
        { "ve-*", "ve-web", true },
        { "ve-*", "veth0", false },

        { "/?", "/a", true },
        { "/?", "/", false },
        { "?", "/", false },

        { "[ab]", "b", true },
        { "[ab]", "c", false },
        { "[a-c]x", "bx", true },
        { "[a-c]", "d", false },
        { "[!a-c]", "d", true },
        { "[^a-c]", "b", false },
        { "[!a]", "/", false },
        { "a[.-0]b", "a/b", false },
        { "[]]", "]", true },
        { "[!]]", "]", false },
        { "[!]]", "a", true },
        { "[a-]", "-", true },
        { "[-a]", "-", true },
        { "[\xc0-\xff]", "\xe4", true },
        { "[a", "[a", true },
        { "[", "[", true },
        { "[]", "[]", true },
        { "[!", "[!", true },
        { "*[0-9]", "eth10", true },

        { "/**", "/", true },
        { "/**", "/a/b/c", true },
        { "**", "", true },
        { "**", "/a/b", true },
        { "/x/**", "/x/a/b", true },
        { "/x/**", "/x", false },
        { "/x**", "/x", true },
        { "/x**z", "/xy/yz", true },
        { "/x/**/y", "/x/y", true },
        { "/x/**/y", "/x/a/y", true },
        { "/x/**/y", "/x/a/b/y", true },
        { "/x/**/y", "/x/ay", false },
        { "/x/**/y", "/xy", false },
        { "/x/**/y", "/x/y/z", false },
        { "/x/**/y*", "/x/y1/y2", true },
        { "**/y", "y", true },
        { "**/y", "/a/y", true },
        { "/a**/y", "/a/y", true },
        { "/a**/y", "/ab/c/y", true },
        { "/**/a*/**/b", "/x/ay/z/b", true },
        { "/**/a/*b/**/c", "/a/x/a/bb/q/c", true },
        { "/**/a/*b", "/a/a/x/b", false },
        { "/***/y", "/y", true },

        { "/a\\x2db.service", "/a\\x2db.service", true },
        { "/a\\*", "/a\\b", true },
        { "/a\\*", "/a*", false },

        { "/system.slice/envoy*.service", "/system.slice/envoy.service", true },
        { "/system.slice/system-envoy*.slice/envoy*.service", "/system.slice/system-envoy.slice/envoy@x.service",
          true },
};

/* Whoever may create cgroups must not be able to stop the service with the name of one. */
static void test_time(void) {
        char pattern[512] = "", path[4096];
        clock_t start = clock();

        memset(path, 'a', sizeof(path) - 1);
        path[sizeof(path) - 1] = 0;
        for (size_t i = 1; i < sizeof(path) - 1; i += 100)
                path[i] = '/';
        for (size_t i = 0; i < 40; i++)
                strcat(pattern, i % 2 ? "*a*a" : "/**/");
        strcat(pattern, "b");

        CHECK(!glob_match(pattern, path));
        CHECK((clock() - start) / CLOCKS_PER_SEC < 2);
}

int main(void) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (glob_match(cases[i].pattern, cases[i].path) != cases[i].matches)
                        TEST_FAIL("\"%s\" must %smatch \"%s\"", cases[i].pattern, cases[i].matches ? "" : "not ",
                                  cases[i].path);
        test_time();
        return 0;
}
