/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of keys, and one parser for each kind of value. */

#include "policy-keys.h"

#include <net/if.h>
#include <stdarg.h>
#include <strings.h>

#define SEPARATORS " \t,"
#define WORD_LENGTH_MAX 1023 /* above what a line can hold */
#define LIST_LENGTH_MAX 255

static int problem(char **ret_problem, const char *format, ...) _printf_(2, 3);
static int problem(char **ret_problem, const char *format, ...) {
        char *text;
        va_list ap;
        int k;

        va_start(ap, format);
        k = vasprintf(&text, format, ap);
        va_end(ap);
        if (k < 0)
                return -ENOMEM;
        *ret_problem = text;
        return -EINVAL;
}

static int parse_boolean(const char *value, void *target, char **ret_problem) {
        if (boolean_from_string(value, target) < 0)
                return problem(ret_problem, "\"%s\" is not a boolean (yes or no)", value);
        return 0;
}

static int parse_probation(const char *value, void *target, char **ret_problem) {
        Probation *probation = target, word = probation_from_string(value);
        bool b;

        if (word < 0 && boolean_from_string(value, &b) == 0)
                word = b ? PROBATION_YES : PROBATION_NO;
        if (word < 0)
                return problem(ret_problem, "\"%s\" is none of auto, yes and no", value);
        *probation = word;
        return 0;
}

static int parse_veth_mode(const char *value, void *target, char **ret_problem) {
        VethMode *mode = target, word = veth_mode_from_string(value);

        if (word < 0)
                return problem(ret_problem, "\"%s\" is neither established nor direct", value);
        *mode = word;
        return 0;
}

static int parse_action(const char *value, void *target, char **ret_problem) {
        RuleAction *action = target, word = rule_action_from_string(value);

        if (word < 0)
                return problem(ret_problem, "\"%s\" is neither shortcut nor leave", value);
        *action = word;
        return 0;
}

static int parse_max_connections(const char *value, void *target, char **ret_problem) {
        uint32_t *max = target;
        uint64_t n;
        int r;

        r = number_from_string(value, &n);
        if (r == -EINVAL)
                return problem(ret_problem, "\"%s\" is not a number", value);
        if (r < 0 || n < 1 || n > 1048576)
                return problem(ret_problem, "\"%s\" is not within 1 and 1048576", value);
        *max = n;
        return 0;
}

static int parse_max_unread(const char *value, void *target, char **ret_problem) {
        uint64_t *max = target, n;
        int r;

        r = size_from_string(value, &n);
        if (r == -EINVAL)
                return problem(ret_problem, "\"%s\" is not a size (a number of bytes, or with K, M or G)", value);
        if (r < 0 || n < 4096 || n > 1024U * 1024 * 1024)
                return problem(ret_problem, "\"%s\" is not within 4K and 1G", value);
        *max = n;
        return 0;
}

static int parse_tcp_interval(const char *value, void *target, char **ret_problem) {
        uint64_t *interval = target, n;
        int r;

        r = usec_from_string(value, &n);
        if (r == -EINVAL)
                return problem(ret_problem, "\"%s\" is not a time (a number of seconds, or with ms, s or min)", value);
        if (r < 0 || n < 100 * USEC_PER_MSEC || n > 3600 * USEC_PER_SEC)
                return problem(ret_problem, "\"%s\" is not within 100ms and 60min", value);
        *interval = n;
        return 0;
}

static int parse_cgroup_root(const char *value, void *target, char **ret_problem) {
        char **root = target, *copy = NULL;

        if (!isempty(value)) {
                if (*value != '/')
                        return problem(ret_problem, "\"%s\" is not an absolute path", value);
                copy = strdup(value);
                if (!copy)
                        return -ENOMEM;
        }
        free(*root);
        *root = copy;
        return 0;
}

/* Splits at blanks and commas. */
static int split_list(const char *value, char ***ret, char **ret_problem) {
        _cleanup_strv_free_ char **list = NULL;
        size_t length;
        int r;

        for (const char *p = value + strspn(value, SEPARATORS); *p; p += length, p += strspn(p, SEPARATORS)) {
                char word[WORD_LENGTH_MAX + 1];

                length = MIN(strcspn(p, SEPARATORS), sizeof(word) - 1);
                *(char *) mempcpy(word, p, length) = 0;
                if (strv_length(list) == LIST_LENGTH_MAX)
                        return problem(ret_problem, "\"%s\" is one more than the %d that a list may hold", word,
                                       LIST_LENGTH_MAX);
                r = strv_extend(&list, word);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(list);
        return 0;
}

static int parse_quirks(const char *value, void *target, char **ret_problem) {
        _cleanup_strv_free_ char **words = NULL;
        uint64_t *quirks = target, bits = 0;
        int r;

        r = split_list(value, &words, ret_problem);
        if (r < 0)
                return r;
        for (char **w = words; w && *w; w++) {
                Quirk quirk = quirk_from_string(*w);

                if (quirk < 0)
                        return problem(ret_problem, "\"%s\" is neither fionread nor splice", *w);
                bits |= 1ULL << quirk;
        }
        *quirks = bits;
        return 0;
}

/* Says why no cgroup can match, or returns NULL. */
static const char *cgroup_glob_flaw(const char *glob) {
        if (*glob != '/')
                return "does not start with a slash";
        for (const char *p = glob; *p; p += strcspn(p, "/")) {
                size_t length = strcspn(++p, "/");

                if (length == 0 && glob[1])
                        return "has an empty path component";
                if ((length == 1 && *p == '.') || (length == 2 && p[0] == '.' && p[1] == '.'))
                        return "has a path component \".\" or \"..\"";
        }
        return NULL;
}

/* Says why no interface can match, or returns NULL. */
static const char *interface_glob_flaw(const char *glob) {
        if (strpbrk(glob, "/:") || streq(glob, ".") || streq(glob, ".."))
                return "is not the name of an interface";
        /* A set counts for one byte and a star for none, so only a plain name shows its length. */
        if (!strpbrk(glob, "*?[") && strlen(glob) >= IFNAMSIZ)
                return "is longer than the name of an interface can be";
        return NULL;
}

static int parse_globs(const char *value, void *target, char **ret_problem, const char *(*flaw)(const char *glob)) {
        _cleanup_strv_free_ char **globs = NULL;
        char ***list = target;
        int r;

        r = split_list(value, &globs, ret_problem);
        if (r < 0)
                return r;
        for (char **g = globs; g && *g; g++) {
                const char *what = flaw(*g);

                if (what)
                        return problem(ret_problem, "\"%s\" %s", *g, what);
        }
        strv_free(*list);
        *list = TAKE_PTR(globs);
        return 0;
}

static int parse_cgroups(const char *value, void *target, char **ret_problem) {
        return parse_globs(value, target, ret_problem, cgroup_glob_flaw);
}

static int parse_interfaces(const char *value, void *target, char **ret_problem) {
        return parse_globs(value, target, ret_problem, interface_glob_flaw);
}

static int parse_ports(const char *value, void *target, char **ret_problem) {
        _cleanup_strv_free_ char **words = NULL;
        _cleanup_free_ PortRange *ports = NULL;
        Rule *rule = target;
        size_t n;
        int r;

        r = split_list(value, &words, ret_problem);
        if (r < 0)
                return r;
        n = strv_length(words);
        ports = calloc(MAX(n, 1U), sizeof(*ports));
        if (!ports)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = port_range_from_string(words[i], &ports[i]);
                if (r == -ERANGE)
                        return problem(ret_problem, "\"%s\" is not within 1 and 65535", words[i]);
                if (r < 0)
                        return problem(ret_problem, "\"%s\" is neither a port nor a range of ports", words[i]);
        }
        free(rule->ports);
        rule->ports = TAKE_PTR(ports);
        rule->n_ports = n;
        return 0;
}

static int parse_addresses(const char *value, void *target, char **ret_problem) {
        _cleanup_free_ AddressPrefix *addresses = NULL;
        _cleanup_strv_free_ char **words = NULL;
        Rule *rule = target;
        size_t n;
        int r;

        r = split_list(value, &words, ret_problem);
        if (r < 0)
                return r;
        n = strv_length(words);
        addresses = calloc(MAX(n, 1U), sizeof(*addresses));
        if (!addresses)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = address_prefix_from_string(words[i], &addresses[i]);
                if (r == -ERANGE)
                        return problem(ret_problem, "\"%s\" has a prefix that is too long", words[i]);
                if (r < 0)
                        return problem(ret_problem, "\"%s\" is neither an address nor a prefix", words[i]);
        }
        free(rule->addresses);
        rule->addresses = TAKE_PTR(addresses);
        rule->n_addresses = n;
        return 0;
}

/* Keys of one value, and those that own memory, into a field or into the whole Rule. */
#define SCALAR(section, name, parse, type, field) \
        { section, name, parse, offsetof(type, field), sizeof(((type *) NULL)->field) }
#define OWNER(section, name, parse, type, field) { section, name, parse, offsetof(type, field), 0 }
#define WHOLE(section, name, parse) { section, name, parse, 0, 0 }

static const ConfigKey config_keys[] = {
        OWNER("Meshcut", "CgroupRoot", parse_cgroup_root, Policy, cgroup_root),
        SCALAR("Meshcut", "Socket", parse_boolean, Policy, shortcut[SHORTCUT_SOCKET]),
        SCALAR("Meshcut", "Veth", parse_boolean, Policy, shortcut[SHORTCUT_VETH]),
        SCALAR("Meshcut", "AllowQuirks", parse_quirks, Policy, allowed_quirks),
        SCALAR("Socket", "MaxConnections", parse_max_connections, Policy, max_connections),
        SCALAR("Socket", "MaxUnread", parse_max_unread, Policy, max_unread),
        SCALAR("Socket", "Probation", parse_probation, Policy, probation),
        SCALAR("Socket", "TCPInterval", parse_tcp_interval, Policy, tcp_interval_usec),
        SCALAR("Veth", "Mode", parse_veth_mode, Policy, veth_mode),
        OWNER("Veth", "Interfaces", parse_interfaces, Policy, interfaces),
        OWNER("Veth", "Uplinks", parse_interfaces, Policy, uplinks),
        OWNER("Veth", "ExcludeInterfaces", parse_interfaces, Policy, exclude_interfaces),
        SCALAR(RULE_SECTION, "Action", parse_action, Rule, action),
        OWNER(RULE_SECTION, "Cgroup", parse_cgroups, Rule, cgroups),
        WHOLE(RULE_SECTION, "Port", parse_ports),
        WHOLE(RULE_SECTION, "Address", parse_addresses),
        SCALAR(RULE_SECTION, "AllowBlocking", parse_boolean, Rule, allow_blocking),
};

const ConfigKey *config_key_find(const char *section, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(config_keys); i++)
                if (strcasecmp(config_keys[i].section, section) == 0 &&
                    (!name || strcasecmp(config_keys[i].name, name) == 0))
                        return &config_keys[i];
        return NULL;
}
