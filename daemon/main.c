// SPDX-License-Identifier: GPL-2.0-or-later

#include <getopt.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include <bpf/libbpf.h>

#include "log.h"
#include "manager.h"

#define STATE_DIR_DEFAULT "/sys/fs/bpf/meshcut"

typedef struct Arguments {
        const char *config;
        const char *state_dir;
        bool check, off;
} Arguments;

static void help(void) {
        printf("meshcutd [OPTION...]\n\n"
               "Gives the traffic of a service mesh a shorter way through the kernel.\n\n"
               "  --config=FILE     read FILE and FILE.d/*.conf instead of the system's configuration\n"
               "  --state-dir=DIR   keep BPF pins in DIR, on a bpffs, instead of " STATE_DIR_DEFAULT "\n"
               "  --check           check the configuration and exit\n"
               "  --off             turn the shortcuts off, with or without a running service, and exit\n"
               "  --debug           log more\n"
               "  --version         show the version\n"
               "  --help            show this help\n");
}

/* Returns 1 to go on, 0 when there is nothing more to do, -EINVAL for a bad command line. */
static int parse_arguments(int argc, char **argv, Arguments *ret) {
        enum { CONFIG = 0x100, STATE_DIR, CHECK, OFF, DEBUG, VERSION, HELP };
        static const struct option options[] = {
                { "config", required_argument, NULL, CONFIG }, { "state-dir", required_argument, NULL, STATE_DIR },
                { "check", no_argument, NULL, CHECK },         { "off", no_argument, NULL, OFF },
                { "debug", no_argument, NULL, DEBUG },         { "version", no_argument, NULL, VERSION },
                { "help", no_argument, NULL, HELP },           {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case CONFIG:
                        ret->config = optarg;
                        break;
                case STATE_DIR:
                        ret->state_dir = optarg;
                        break;
                case CHECK:
                        ret->check = true;
                        break;
                case OFF:
                        ret->off = true;
                        break;
                case DEBUG:
                        log_set_max_level(LOG_DEBUG);
                        break;
                case VERSION:
                        printf("meshcut " MESHCUT_VERSION "\n");
                        return 0;
                case 'h':
                case HELP:
                        help();
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                log_error("Unexpected argument: %s", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int check_configuration(const char *config) {
        _cleanup_policy_free_ Policy *policy = NULL;
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        int r = policy_load(config, &policy, &messages);

        for (char **s = messages.warnings; s && *s; s++)
                fprintf(stderr, "%s\n", *s);
        for (char **s = messages.errors; s && *s; s++)
                fprintf(stderr, "%s\n", *s);
        return r;
}

static int check_capabilities(void) {
        static const struct {
                int capability;
                const char *name, *purpose;
        } needed[] = {
                { CAP_BPF, "CAP_BPF", "to load BPF programs" },
                { CAP_PERFMON, "CAP_PERFMON", "because the programs read the kernel's sockets" },
                { CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach them to sockets and cgroups" },
        };
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
        int r = 0;

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(needed); i++)
                if (!(data[CAP_TO_INDEX(needed[i].capability)].effective & CAP_TO_MASK(needed[i].capability))) {
                        log_error("%s is missing: it is needed %s", needed[i].name, needed[i].purpose);
                        r = -EPERM;
                }
        return r;
}

static int on_libbpf_message(enum libbpf_print_level level, const char *format, va_list ap) {
        return level == LIBBPF_DEBUG || log_get_max_level() < LOG_DEBUG ? 0 : vfprintf(stderr, format, ap);
}

static int run(int argc, char **argv) {
        Arguments arguments = { .state_dir = STATE_DIR_DEFAULT };
        _cleanup_(manager_freep) Manager *m = NULL;
        int r, veth;

        log_open();
        libbpf_set_print(on_libbpf_message);
        r = parse_arguments(argc, argv, &arguments);
        if (r <= 0)
                return r;
        if (arguments.check)
                return check_configuration(arguments.config);
        r = check_capabilities();
        if (r < 0)
                return r;
        if (arguments.off) {
                r = socket_datapath_off(arguments.state_dir);
                veth = veth_datapath_off(arguments.state_dir);
                if (r >= 0)
                        r = veth;
                if (r < 0)
                        log_error("Cannot turn off what is pinned in %s: %s", arguments.state_dir, strerror(-r));
                return r;
        }

        r = manager_new(arguments.config, arguments.state_dir, &m);
        if (r < 0) {
                log_error("Cannot start: %s", strerror(-r));
                return r;
        }
        r = manager_start(m);
        return r < 0 ? r : manager_loop(m);
}

int main(int argc, char **argv) {
        return run(argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
