/* SPDX-License-Identifier: GPL-2.0-or-later */

/* meshcutctl: the D-Bus interface of meshcutd, for people. */

#include <getopt.h>

#include "show.h"

static const char help_text[] =
        "meshcutctl [OPTION...] [VERB]\n"
        "\n"
        "Shows and controls the shortcuts for connections between local sockets.\n"
        "\n"
        "  status                   What is on, what is refused and why (the default)\n"
        "  stats                    Counters, in all and by rule\n"
        "  connections              Connections that are enrolled now\n"
        "  veths                    Host-side veth devices\n"
        "  metrics                  State and counters as OpenMetrics text\n"
        "  enable [SHORTCUT...]     Turn shortcuts on: socket (the default), veth\n"
        "  disable [SHORTCUT...]    Turn shortcuts off\n"
        "  reload                   Apply the configuration; returns when it is in force\n"
        "  check                    Check the configuration without touching the service\n"
        "\n"
        "  -j --json                Write JSON: status, stats, connections, veths, check\n"
        "  -w --watch               stats: print rates each second until interrupted\n"
        "  -n --limit=N             connections: at most N\n"
        "  -o --output=FILE         metrics: write to FILE, which is replaced as a whole\n"
        "  -h --help                Show this help\n"
        "     --version             Show the version\n"
        "\n"
        "Environment: NO_COLOR, DBUS_SYSTEM_BUS_ADDRESS, and MESHCUTD, the program that\n"
        "check runs (" MESHCUTD_PATH ").\n";

typedef struct Verb {
        const char *name;
        bool has_arguments;
        const char *options; /* the letters of those that it takes */
        int (*run)(Client *client, const Options *options, char **arguments);
} Verb;

static int verb_status(Client *client, const Options *options, char **arguments) {
        return show_status(client, options);
}

static int verb_statistics(Client *client, const Options *options, char **arguments) {
        return options->watch ? watch_statistics(client, options) : show_statistics(client, options);
}

static int verb_connections(Client *client, const Options *options, char **arguments) {
        return show_connections(client, options);
}

static int verb_veths(Client *client, const Options *options, char **arguments) {
        return show_veths(client, options);
}

static int verb_metrics(Client *client, const Options *options, char **arguments) {
        return write_metrics(client, options);
}

static int call_with_shortcuts(Client *client, const char *method, char **shortcuts) {
        static char *fallback[] = { (char *) "socket", NULL };
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = client_prepare(client, MESHCUT_MANAGER_INTERFACE, method, &call);
        if (r < 0)
                return r;

        r = sd_bus_message_append_strv(call, strv_length(shortcuts) > 0 ? shortcuts : fallback);
        if (r < 0)
                return r;

        return client_send(client, call, NULL);
}

static int verb_enable(Client *client, const Options *options, char **arguments) {
        return call_with_shortcuts(client, "Enable", arguments);
}

static int verb_disable(Client *client, const Options *options, char **arguments) {
        return call_with_shortcuts(client, "Disable", arguments);
}

static int verb_reload(Client *client, const Options *options, char **arguments) {
        return client_call(client, MESHCUT_MANAGER_INTERFACE, "Reload", NULL);
}

static const Verb verbs[] = {
        { "status", false, "j", verb_status },
        { "stats", false, "jw", verb_statistics },
        { "connections", false, "jn", verb_connections },
        { "veths", false, "j", verb_veths },
        { "metrics", false, "o", verb_metrics },
        { "enable", true, "", verb_enable },
        { "disable", true, "", verb_disable },
        { "reload", false, "", verb_reload },
        { "check", false, "j", NULL }, /* needs no daemon, and so no client */
};

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return verbs + i;
        return NULL;
}

static int parse_limit(const char *text, uint32_t *ret) {
        unsigned long long value;
        char *end;

        errno = 0;
        value = strtoull(text, &end, 10);
        if (errno != 0 || end == text || *end || *text == '-' || value > UINT32_MAX)
                return -EINVAL;

        *ret = value;
        return 0;
}

/* Returns 0 if there is nothing more to do, 1 if there is, and a negative errno, with the reason printed, if the
 * command line is wrong. Notes the letters of the options in "given". */
static int parse_options(int argc, char **argv, Options *options, char given[static 8]) {
        static const struct option long_options[] = {
                { "json", no_argument, NULL, 'j' },
                { "watch", no_argument, NULL, 'w' },
                { "limit", required_argument, NULL, 'n' },
                { "output", required_argument, NULL, 'o' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "jwn:o:h", long_options, NULL)) >= 0) {
                switch (c) {
                case 'h':
                        fputs(help_text, stdout);
                        return 0;
                case 'V':
                        puts("meshcutctl " MESHCUT_VERSION);
                        return 0;
                case 'j':
                        options->json = true;
                        break;
                case 'w':
                        options->watch = true;
                        break;
                case 'n':
                        if (parse_limit(optarg, &options->limit) < 0) {
                                fprintf(stderr, "meshcutctl: --limit= is not a number: %s\n", optarg);
                                return -EINVAL;
                        }
                        break;
                case 'o':
                        options->output = optarg;
                        break;
                default:
                        return -EINVAL;
                }
                if (!strchr(given, c))
                        given[strlen(given)] = c;
        }
        return 1;
}

/* Finds the verb and sees that everything else on the command line belongs to it. NULL, with the reason printed, if
 * not. */
static const Verb *parse_verb(char **arguments, const char *given) {
        const char *name = arguments[0] ?: "status";
        const Verb *verb = find_verb(name);

        if (!verb)
                fprintf(stderr, "meshcutctl: unknown verb: %s (see meshcutctl --help)\n", name);
        else if (!verb->has_arguments && arguments[0] && arguments[1])
                fprintf(stderr, "meshcutctl: %s takes no argument: %s\n", name, arguments[1]);
        else if (given[strspn(given, verb->options)])
                fprintf(stderr, "meshcutctl: %s does not take the option -%c\n", name,
                        given[strspn(given, verb->options)]);
        else
                return verb;
        return NULL;
}

static int check(const Options *options) {
        const char *meshcutd = getenv("MESHCUTD") ?: MESHCUTD_PATH;
        int r = show_check(meshcutd, options);

        if (r < 0)
                fprintf(stderr, "meshcutctl: cannot run %s: %s\n", meshcutd, strerror(-r));
        return r > 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
        _cleanup_(client_done) Client client = {};
        Options options = {};
        char given[8] = "";
        const Verb *verb;
        int r;

        r = parse_options(argc, argv, &options, given);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;

        verb = parse_verb(argv + optind, given);
        if (!verb)
                return EXIT_FAILURE;
        if (!verb->run)
                return check(&options);

        r = client_open(&client);
        if (r >= 0)
                r = verb->run(&client, &options, argv + MIN(optind + 1, argc));
        if (r >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
                r = -EIO;
        if (r < 0) {
                fflush(stdout);
                fprintf(stderr, "%s\n", client_explain(&client, r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
