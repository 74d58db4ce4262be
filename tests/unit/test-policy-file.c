/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "policy-file.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "test.h"

/* Every test works in the current directory, which is one of its own: messages have short paths. */

static void put_bytes(const char *path, const char *bytes, size_t size) {
        _cleanup_fclose_ FILE *file = fopen(path, "we");

        CHECK(file);
        CHECK(fwrite(bytes, 1, size, file) == size);
}

static void put(const char *path, const char *text) {
        put_bytes(path, text, strlen(text));
}

static void make_directories(const char *first, ...) {
        va_list ap;

        va_start(ap, first);
        for (const char *path = first; path; path = va_arg(ap, const char *))
                CHECK(mkdir(path, 0755) == 0);
        va_end(ap);
}

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw) {
        return ftw->level > 0 ? remove(path) : 0;
}

static void clean(void) {
        CHECK(nftw(".", remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static Policy *load_good(const char *path) {
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        Policy *policy = NULL;
        int r;

        r = policy_load(path, &policy, &messages);
        if (messages.errors || messages.warnings)
                TEST_FAIL("unexpected: %s", messages.errors ? messages.errors[0] : messages.warnings[0]);
        CHECK_INT(r, 0);
        CHECK(policy);
        return policy;
}

static Policy *load_text(const char *text) {
        put("f", text);
        return load_good("f");
}

static void check_list(char **list, const char *expected) {
        char joined[8192] = "";

        for (char **s = list; s && *s; s++) {
                strcat(joined, *s);
                strcat(joined, "\n");
        }
        CHECK_STR(joined, expected);
}

/* Loads and compares all messages; each expected one ends in a newline. */
static void check_messages(const char *path, const char *errors, const char *warnings) {
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        _cleanup_policy_free_ Policy *policy = NULL;
        int r;

        r = policy_load(path, &policy, &messages);
        check_list(messages.errors, errors);
        check_list(messages.warnings, warnings);
        CHECK_INT(r, *errors ? -EINVAL : 0);
        CHECK(!policy == !!*errors);
}

static void test_values(void) {
        _cleanup_policy_free_ Policy *policy = load_text("[meshcut]\n"
                                                         "CGROUPROOT = \"/a b;c\"\n"
                                                         "socket=off # a comment\n"
                                                         "Veth=1;another\n"
                                                         "AllowQuirks=splice,fionread\n"
                                                         "[ Socket ]  ; a comment = here\n"
                                                         "MaxConnections=1048576\n"
                                                         "MaxUnread=4K\n"
                                                         "Probation=on\n"
                                                         "TCPInterval='1min 30s'\n"
                                                         "[Veth]\n"
                                                         "Mode=direct\n"
                                                         "Interfaces=ve-* , veth[0-9a-f]*\tvb-?\n"
                                                         "Uplinks=eth0\n"
                                                         "ExcludeInterfaces=ve-secret\n"
                                                         "[rule  Two  words ]\n"
                                                         "Action=leave\n"
                                                         "Cgroup=/ /a.slice/*.service,/b/**\n"
                                                         "Port=80 8000-8999\n"
                                                         "Address=10.1.2.3/8, ::1\n"
                                                         "AllowBlocking=yes\n"
                                                         "[Rule \xc3\xa4]\n"
                                                         "[Meshcut]\n");
        const Rule *rule;

        CHECK_STR(policy->cgroup_root, "/a b;c");
        CHECK(!policy->shortcut[SHORTCUT_SOCKET] && policy->shortcut[SHORTCUT_VETH]);
        CHECK_INT(policy->allowed_quirks, 1 << QUIRK_FIONREAD | 1 << QUIRK_SPLICE);
        CHECK_INT(policy->max_connections, 1048576);
        CHECK_INT(policy->max_unread, 4096);
        CHECK_INT(policy->probation, PROBATION_YES);
        CHECK_INT(policy->tcp_interval_usec, 90000000);
        CHECK_INT(policy->veth_mode, VETH_MODE_DIRECT);
        check_list(policy->interfaces, "ve-*\nveth[0-9a-f]*\nvb-?\n");
        check_list(policy->uplinks, "eth0\n");
        check_list(policy->files, "f\n");

        CHECK_INT(policy->n_rules, 2);
        rule = policy_find_rule(policy, "TWO  WORDS");
        CHECK(rule);
        CHECK_STR(rule->name, "Two  words");
        CHECK_INT(rule->action, RULE_LEAVE);
        check_list(rule->cgroups, "/\n/a.slice/*.service\n/b/**\n");
        CHECK_INT(rule->n_ports, 2);
        CHECK_INT(rule->ports[1].first, 8000);
        CHECK_INT(rule->n_addresses, 2);
        CHECK_INT(rule->addresses[0].length, 104);
        CHECK(rule->allow_blocking);
        CHECK_STR(policy->rules[1].name, "\xc3\xa4");
        clean();
}

/* A file "f", and what is said about it. */
typedef struct ProblemCase {
        const char *text, *errors, *warnings;
} ProblemCase;

static const ProblemCase value_problems[] = {
        { "", "", "" },
        { "# only a comment", "", "" },

        { "[Meshcut]\nSocket=maybe\n", "f:2: [Meshcut] Socket: \"maybe\" is not a boolean (yes or no)\n", "" },
        { "[Meshcut]\nCgroupRoot=sys/fs\n", "f:2: [Meshcut] CgroupRoot: \"sys/fs\" is not an absolute path\n",
          "" },
        { "[Meshcut]\nAllowQuirks=splice foo\n",
          "f:2: [Meshcut] AllowQuirks: \"foo\" is neither fionread nor splice\n", "" },
        { "[Socket]\nmaxconnections=many\n", "f:2: [Socket] MaxConnections: \"many\" is not a number\n", "" },
        { "[Socket]\nMaxConnections=0\n", "f:2: [Socket] MaxConnections: \"0\" is not within 1 and 1048576\n",
          "" },
        { "[Socket]\nMaxConnections=1048577\n",
          "f:2: [Socket] MaxConnections: \"1048577\" is not within 1 and 1048576\n", "" },
        { "[Socket]\nMaxUnread=1T\n",
          "f:2: [Socket] MaxUnread: \"1T\" is not a size (a number of bytes, or with K, M or G)\n",
          "" },
        { "[Socket]\nMaxUnread=4095\n", "f:2: [Socket] MaxUnread: \"4095\" is not within 4K and 1G\n", "" },
        { "[Socket]\nMaxUnread=2G\n", "f:2: [Socket] MaxUnread: \"2G\" is not within 4K and 1G\n", "" },
        { "[Socket]\nProbation=perhaps\n", "f:2: [Socket] Probation: \"perhaps\" is none of auto, yes and no\n",
          "" },
        { "[Socket]\nTCPInterval=99ms\n", "f:2: [Socket] TCPInterval: \"99ms\" is not within 100ms and 60min\n",
          "" },
        { "[Socket]\nTCPInterval=61min\n",
          "f:2: [Socket] TCPInterval: \"61min\" is not within 100ms and 60min\n", "" },
        { "[Socket]\nTCPInterval=soon\n",
          "f:2: [Socket] TCPInterval: \"soon\" is not a time "
          "(a number of seconds, or with ms, s or min)\n",
          "" },
        { "[Veth]\nMode=fast\n", "f:2: [Veth] Mode: \"fast\" is neither established nor direct\n", "" },
        { "[Veth]\nUplinks=eth0 a/b\n", "f:2: [Veth] Uplinks: \"a/b\" is not the name of an interface\n", "" },
        { "[Veth]\nInterfaces=ve-0123456789abc\n",
          "f:2: [Veth] Interfaces: \"ve-0123456789abc\" is longer than the name of an interface can be\n",
          "" },
        { "[Rule x]\nAction=drop\n", "f:2: [Rule x] Action: \"drop\" is neither shortcut nor leave\n", "" },
        { "[Rule x]\nCgroup=/a b.slice\n", "f:2: [Rule x] Cgroup: \"b.slice\" does not start with a slash\n",
          "" },
        { "[Rule x]\nCgroup=/a/../b\n",
          "f:2: [Rule x] Cgroup: \"/a/../b\" has a path component \".\" or \"..\"\n", "" },
        { "[Rule x]\nCgroup=/a/..b /a/\n", "f:2: [Rule x] Cgroup: \"/a/\" has an empty path component\n", "" },
        { "[Rule x]\nCgroup=//\n", "f:2: [Rule x] Cgroup: \"//\" has an empty path component\n", "" },
        { "[Rule x]\nPort=80 0\n", "f:2: [Rule x] Port: \"0\" is not within 1 and 65535\n", "" },
        { "[Rule x]\nPort=80-\n", "f:2: [Rule x] Port: \"80-\" is neither a port nor a range of ports\n", "" },
        { "[Rule x]\nAddress=10.0.0.0/33\n",
          "f:2: [Rule x] Address: \"10.0.0.0/33\" has a prefix that is too long\n", "" },
        { "[Rule x]\nAddress=here\n", "f:2: [Rule x] Address: \"here\" is neither an address nor a prefix\n",
          "" },
};

static const ProblemCase form_problems[] = {
        { "[Foo]\nA=1\nA=2\n[Veth]\nB=3\n[Rule Ab]\nC=4\n", "",
          "f:1: [Foo]: unknown section, ignored\n"
          "f:5: [Veth] B: unknown key, ignored\n"
          "f:7: [Rule Ab] C: unknown key, ignored\n" },
        { "[]\nA=1\n", "", "f:1: []: unknown section, ignored\n" },

        { "Socket=yes\n", "f:1: Socket: a key before any section\n", "" },
        { "[Meshcut]\nSocket=yes\n\n[Veth]\n[MESHCUT]\nsocket=no\n",
          "f:6: [Meshcut] Socket: repeated, first in line 2\n", "" },
        { "[Rule a]\nPort=1\n[Rule b]\nPort=2\nPORT=3\n", "f:5: [Rule b] Port: repeated, first in line 4\n",
          "" },
        { "[Rule a]\n[Rule A ]\nPort=none\n", "f:2: [Rule A]: duplicate rule, first in line 1\n", "" },
        { "[Rule]\nPort=none\n", "f:1: [Rule]: a rule needs a name\n", "" },
        { "[Rule a:b]\n", "f:1: [Rule a:b]: the name of a rule must not hold any of : ; # [ and tabs\n", "" },
        { "[Rule 0123456789012345678901234567890123456789012345678901234567890123]\n",
          "f:1: [Rule 0123456789012345678901234567890123456789012345678901234567890123]: "
          "the name of a rule is too long\n",
          "" },
        { "[Rule 012345678901234567890123456789012345678901234567890123456789012]\nPort=1\n", "", "" },

        { "[Meshcut\nSocket=no\n", "f:1: \"[Meshcut\" is not a section header\n", "" },
        { "[Veth] x\n", "f:1: \"[Veth] x\" is not a section header\n", "" },
        { "[Veth]\nMode\n", "f:2: \"Mode\" is neither a [Section], nor Key=value, nor a comment\n", "" },
        { "[Veth]\n=x\n", "f:2: \"=x\" is neither a [Section], nor Key=value, nor a comment\n", "" },
        { "[Veth]\nMode # = x\n", "f:2: \"Mode # = x\" is neither a [Section], nor Key=value, nor a comment\n",
          "" },
        { "[Veth]\nx:y=z\n", "f:2: \"x:y=z\" is neither a [Section], nor Key=value, nor a comment\n", "" },
        { "[Veth]\nMode='direct\n", "f:2: [Veth] Mode: the quote is not closed: \"'direct\"\n", "" },
        { "[Veth]\nMode= \"a\" b\n", "f:2: [Veth] Mode: text after the closing quote: \"\"a\" b\"\n", "" },
        { "[Meshcut]\nCgroupRoot=/a\\\\\n\n",
          "f:2: [Meshcut] CgroupRoot: the value ends in a backslash: "
          "\"/a\\\"\n",
          "" },
        { "[Veth]\nMode=\x01\n", "f:2: the line holds bytes that are not text\n", "" },
        { "[Veth]\nMode=\xff\n# \xc0\x80\n",
          "f:2: the line holds bytes that are not text\n"
          "f:3: the line holds bytes that are not text\n",
          "" },

        { "[Rule x]\nPort=1 \\\n 2 \\\n none\nAction=3\n",
          "f:2: [Rule x] Port: \"none\" is neither a port nor a range of ports\n"
          "f:5: [Rule x] Action: \"3\" is neither shortcut nor leave\n",
          "" },
        { "[Veth]\nMode\nMode=slow\n[Rule x]\nFoo=\nPort=0\nPort=1\n",
          "f:2: \"Mode\" is neither a [Section], nor Key=value, nor a comment\n"
          "f:7: [Rule x] Port: repeated, first in line 6\n"
          "f:3: [Veth] Mode: \"slow\" is neither established nor direct\n"
          "f:6: [Rule x] Port: \"0\" is not within 1 and 65535\n",
          "f:5: [Rule x] Foo: unknown key, ignored\n" },
};

static void check_problems(const ProblemCase *cases, size_t n_cases) {
        for (size_t i = 0; i < n_cases; i++) {
                put("f", cases[i].text);
                check_messages("f", cases[i].errors, cases[i].warnings);
        }
        clean();
}

static void test_continuation(void) {
        _cleanup_policy_free_ Policy *policy = load_text("\xef\xbb\xbf# a comment does not go on \\\n"
                                                         "[Rule x]\r\n"
                                                         "Port=1\\\r\n"
                                                         "2 \\  \r\n"
                                                         "  # comments may stand between \\\r\n"
                                                         "  3\r\n"
                                                         "Action=leave \\\r\n"
                                                         "\r\n"
                                                         "AllowBlocking=yes\r\n"
                                                         "Cgroup=/a \\");

        CHECK_INT(policy->rules[0].n_ports, 3);
        CHECK_INT(policy->rules[0].ports[2].first, 3);
        CHECK_INT(policy->rules[0].action, RULE_LEAVE);
        CHECK(policy->rules[0].allow_blocking);
        check_list(policy->rules[0].cgroups, "/a\n");
        clean();
}

static void test_long_lines(void) {
        _cleanup_policy_free_ Policy *policy = NULL;
        static const char start[] = "[Meshcut]\nCgroupRoot=/";
        char text[3000];
        size_t length = sizeof(start) - 1;

        /* The longest line that iniparser takes, and one byte more; in one piece and in two. */
        memset(text, 'x', sizeof(text));
        memcpy(text, start, length);
        length = strlen("[Meshcut]\n") + 1022;
        strcpy(text + length, "\nSocket=no");
        policy = load_text(text);
        CHECK_INT(strlen(policy->cgroup_root), 1022 - strlen("CgroupRoot="));
        CHECK(!policy->shortcut[SHORTCUT_SOCKET]);
        text[length - 10] = '\\';
        text[length - 9] = '\n';
        policy_free(policy);
        policy = load_text(text);

        memset(text + length - 10, 'x', 11);
        strcpy(text + length + 1, "\nSocket=?");
        put("f", text);
        check_messages("f", "f:2: the line is too long\n"
                            "f:3: [Meshcut] Socket: \"?\" is not a boolean (yes or no)\n", "");
        strcpy(text + length + 1, "x\nSocket=?");
        text[500] = '\\'; /* with the newline this makes one blank */
        text[501] = '\n';
        put("f", text);
        check_messages("f", "f:2: the line is too long\n"
                            "f:4: [Meshcut] Socket: \"?\" is not a boolean (yes or no)\n", "");
        clean();
}

static void test_garbage(void) {
        static const char nul[] = "[Veth]\nMode=di\0rect\nMode=?\n";
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        _cleanup_free_ char *large = calloc(1, 256 * 1024 + 1);
        Policy *policy = NULL;

        put_bytes("f", nul, sizeof(nul) - 1);
        check_messages("f", "f:2: the line holds bytes that are not text\n"
                            "f:3: [Veth] Mode: \"?\" is neither established nor direct\n", "");
        put_bytes("f", "\0\n\0", 3);
        check_messages("f", "f:1: the line holds bytes that are not text\n"
                            "f:2: the line holds bytes that are not text\n", "");

        CHECK(large);
        put_bytes("f", large, 256 * 1024 + 1);
        check_messages("f", "f: larger than 262144 bytes\n", "");
        memset(large, '\n', 1024);
        for (size_t i = 0; i < 1024; i += 2)
                large[i] = 'x';
        put_bytes("f", large, 1024);
        CHECK_INT(policy_load("f", &policy, &messages), -EINVAL);
        CHECK_INT(strv_length(messages.errors), 101);
        CHECK_STR(messages.errors[100], "More problems are not shown");
        clean();
}

static void test_limits(void) {
        _cleanup_policy_free_ Policy *policy = NULL;
        char text[4096] = "";

        for (int i = 0; i < POLICY_RULES_MAX; i++)
                sprintf(text + strlen(text), "[Rule r%d]\nPort=%d\n", i, i + 1);
        policy = load_text(text);
        CHECK_INT(policy->n_rules, POLICY_RULES_MAX);
        CHECK_INT(policy->rules[63].ports[0].first, 64);
        strcat(text, "[Rule s]\nPort=1\n[Rule t]\n");
        put("f", text);
        check_messages("f", "f:129: [Rule s]: more than 64 rules\nf:131: [Rule t]: more than 64 rules\n", "");

        strcpy(text, "[Rule r]\nCgroup=");
        for (int i = 0; i < 255; i++)
                strcat(text, "/a ");
        policy_free(policy);
        policy = load_text(text);
        CHECK_INT(strv_length(policy->rules[0].cgroups), 255);
        strcat(text, "/b\n");
        put("f", text);
        check_messages("f", "f:2: [Rule r] Cgroup: \"/b\" is one more than the 255 that a list may hold\n", "");
        clean();
}

static void test_drop_ins(void) {
        _cleanup_policy_free_ Policy *policy = NULL;

        make_directories("f.d", NULL);
        put("f", "[Meshcut]\nCgroupRoot=/r\nSocket=no\n[Socket]\nMaxConnections=5\nMaxUnread=8K\nTCPInterval=1s\n"
                 "[Veth]\nMode=direct\nInterfaces=a b\nUplinks=c\n[Rule One]\nPort=1 2\nAddress=::1\nCgroup=/a\n"
                 "Action=leave\nAllowBlocking=yes\n");
        put("f.d/20-b.conf", "[socket]\nmaxconnections=7\n");
        put("f.d/10-a.conf",
            "[Meshcut]\nCgroupRoot=\nSocket=\n[Socket]\nMaxConnections=6\nMaxUnread=\nTCPInterval=\"\"\n"
            "[Veth]\nMode=\nInterfaces=;none\nUplinks=d\n[RULE one]\nPort=\nAddress=\nCgroup=/b\n"
            "Action=''\n[Rule Two]\n");
        put("f.d/.hidden.conf", "garbage");
        put("f.d/README", "garbage");
        put("f.d/30-c.conf.bak", "garbage");
        CHECK(symlink("/dev/null", "f.d/40-masked.conf") == 0);

        policy = load_good("f");
        CHECK(!policy->cgroup_root);
        CHECK(policy->shortcut[SHORTCUT_SOCKET]);
        CHECK_INT(policy->max_connections, 7);
        CHECK_INT(policy->max_unread, 0);
        CHECK_INT(policy->tcp_interval_usec, 60000000);
        CHECK_INT(policy->veth_mode, VETH_MODE_ESTABLISHED);
        check_list(policy->interfaces, "");
        check_list(policy->uplinks, "d\n");
        CHECK_INT(policy->n_rules, 2);
        CHECK_STR(policy->rules[0].name, "One");
        CHECK_INT(policy->rules[0].n_ports + policy->rules[0].n_addresses, 0);
        check_list(policy->rules[0].cgroups, "/b\n");
        CHECK_INT(policy->rules[0].action, RULE_SHORTCUT);
        CHECK(policy->rules[0].allow_blocking);
        check_list(policy->files, "f\nf.d/10-a.conf\nf.d/20-b.conf\n");

        put("f.d/20-b.conf", "[Socket]\nMaxConnections=-1\nNew=1\n");
        check_messages("f", "f.d/20-b.conf:2: [Socket] MaxConnections: \"-1\" is not a number\n",
                       "f.d/20-b.conf:3: [Socket] New: unknown key, ignored\n");
        clean();
}

static void test_unreadable(void) {
        check_messages("missing", "missing: No such file or directory\n", "");
        CHECK_INT(symlink("loop", "loop"), 0);
        check_messages("loop", "loop: Too many levels of symbolic links\n", "");

        put("f", "[Veth]\nMode=?\n");
        make_directories("f.d", "f.d/a.conf", NULL);
        CHECK_INT(symlink("nowhere", "f.d/b.conf"), 0);
        CHECK_INT(mkfifo("f.d/c.conf", 0600), 0);
        check_messages("f", "f:2: [Veth] Mode: \"?\" is neither established nor direct\n"
                            "f.d/a.conf: not a regular file\n"
                            "f.d/b.conf: No such file or directory\n"
                            "f.d/c.conf: not a regular file\n", "");
        clean();

        put("f", "");
        put("f.d", "");
        check_messages("f", "f.d: Not a directory\n", "");
        clean();

        put("f", "");
        if (geteuid() != 0) {
                CHECK_INT(chmod("f", 0), 0);
                check_messages("f", "f: Permission denied\n", "");
        }
        clean();
}

static void test_system(void) {
        static const char *const dirs[] = { "etc", "run", "usr", NULL };
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        Policy *policy = NULL;

        CHECK_INT(policy_load_system(dirs, &policy, &messages), 0);
        CHECK(!policy->files);
        policy = policy_free(policy);

        make_directories("etc", "run", "usr", "etc/meshcut.conf.d", "run/meshcut.conf.d", "usr/meshcut.conf.d", NULL);
        put("usr/meshcut.conf", "[Veth]\nMode=?\n");
        put("run/meshcut.conf", "[Rule main]\n");
        put("usr/meshcut.conf.d/a.conf", "[Veth]\nMode=?\n");
        put("run/meshcut.conf.d/a.conf", "[Rule a-run]\n");
        put("usr/meshcut.conf.d/c.conf", "[Rule c-usr]\n");
        put("etc/meshcut.conf.d/b.conf", "[Rule b-etc]\n");
        put("usr/meshcut.conf.d/masked.conf", "[Veth]\nMode=?\n");
        CHECK_INT(symlink("/dev/null", "etc/meshcut.conf.d/masked.conf"), 0);
        CHECK_INT(policy_load_system(dirs, &policy, &messages), 0);
        check_list(policy->files, "run/meshcut.conf\nrun/meshcut.conf.d/a.conf\netc/meshcut.conf.d/b.conf\n"
                                  "usr/meshcut.conf.d/c.conf\n");
        CHECK_INT(policy->n_rules, 4);
        policy = policy_free(policy);

        /* The main file can be masked, too; and a link that leads nowhere is not passed over. */
        CHECK_INT(symlink("/dev/null", "etc/meshcut.conf"), 0);
        CHECK_INT(policy_load_system(dirs, &policy, &messages), 0);
        CHECK(!policy_find_rule(policy, "main"));
        policy = policy_free(policy);
        CHECK_INT(unlink("etc/meshcut.conf"), 0);
        CHECK_INT(symlink("nowhere", "etc/meshcut.conf"), 0);
        CHECK_INT(policy_load_system(dirs, &policy, &messages), -EINVAL);
        CHECK(!policy);
        check_list(messages.errors, "etc/meshcut.conf: No such file or directory\n");
        CHECK(!messages.warnings);
        clean();
}

/* Messages add up over several calls, and a good file is not blamed for those of another. */
static void test_messages(void) {
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        _cleanup_policy_free_ Policy *policy = NULL;

        put("\xff", "[Veth]\nMode=?\n");
        put("good", "");
        CHECK_INT(policy_load("\xff", &policy, &messages), -EINVAL);
        CHECK_INT(policy_load("good", &policy, &messages), 0);
        CHECK(policy);
        check_list(messages.errors, "?:2: [Veth] Mode: \"?\" is neither established nor direct\n");
        clean();
}

int main(void) {
        char directory[] = "/tmp/test-policy-file-XXXXXX";

        CHECK(mkdtemp(directory));
        CHECK(chdir(directory) == 0);
        test_values();
        check_problems(value_problems, ELEMENTSOF(value_problems));
        check_problems(form_problems, ELEMENTSOF(form_problems));
        test_continuation();
        test_long_lines();
        test_garbage();
        test_limits();
        test_drop_ins();
        test_unreadable();
        test_system();
        test_messages();
        CHECK(rmdir(directory) == 0);
        return 0;
}
