// SPDX-License-Identifier: GPL-2.0-or-later

#include <signal.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "manager-bus.h"
#include "manager-guard.h"
#include "manager.h"
#include "messages.h"
#include "stats.h"
#include "veth-bus.h"

static const char *const shortcut_state_names[] = {
        [SHORTCUT_ACTIVE] = "active",
        [SHORTCUT_DISABLED] = "disabled",
        [SHORTCUT_REFUSED] = "refused",
};
_Static_assert(ELEMENTSOF(shortcut_state_names) == SHORTCUT_STATE_MAX, "a name for every state");

const char *shortcut_state_to_string(ShortcutState state) {
        return shortcut_state_names[state];
}

/* Devices come and go in bursts: what happens within this time is acted on at once. */
#define VETH_DELAY_USEC (20 * USEC_PER_MSEC)

int manager_new(const char *config, const char *state_dir, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return -ENOMEM;
        m->state_dir = strdup(state_dir);
        m->config = config ? strdup(config) : NULL;
        if (!m->state_dir || (config && !m->config))
                return -ENOMEM;
        r = sd_event_default(&m->event);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        sd_event_source_disable_unref(m->veth_timer);
        sd_bus_slot_unref(m->vtable);
        bus_queue_free(m->calls);
        sd_bus_flush_close_unref(m->bus);
        manager_guard_stop(m);
        veth_free(m->veth);
        socket_datapath_free(m->socket);
        cgroup_tree_free(m->cgroups);
        policy_free(m->policy);
        probes_done(&m->probes);
        sd_event_unref(m->event);
        for (Shortcut s = 0; s < SHORTCUT_MAX; s++)
                free(m->announced_reason[s]);
        free(m->socket_refusal);
        free(m->config);
        free(m->state_dir);
        free(m);
        return NULL;
}

ShortcutState manager_shortcut_state(const Manager *m, Shortcut shortcut) {
        if (shortcut == SHORTCUT_VETH) {
                if (veth_refusal(m->veth) && veth_is_wanted(m->veth, m->policy))
                        return SHORTCUT_REFUSED;
                return veth_is_on(m->veth) ? SHORTCUT_ACTIVE : SHORTCUT_DISABLED;
        }
        if (m->socket_refusal)
                return SHORTCUT_REFUSED;
        return m->socket && socket_datapath_is_on(m->socket) && socket_datapath_is_attached(m->socket)
                       ? SHORTCUT_ACTIVE
                       : SHORTCUT_DISABLED;
}

const char *manager_refusal(const Manager *m, Shortcut shortcut) {
        return shortcut == SHORTCUT_VETH ? veth_refusal(m->veth) : m->socket_refusal;
}

const char *manager_shortcut_reason(const Manager *m, Shortcut shortcut) {
        return manager_shortcut_state(m, shortcut) == SHORTCUT_REFUSED ? manager_refusal(m, shortcut) : "";
}

/* "file:line: text", as systemd's own fields have it. */
static void log_message(int level, const char *id, const char *text) {
        _cleanup_free_ char *file = NULL, *line = NULL;

        if (sscanf(text, "%m[^:]:%m[0-9]:", &file, &line) != 2)
                log_event(level, id, NULL, "%s", text);
        else
                log_event(level, id, LOG_FIELDS("CONFIG_FILE", file, "CONFIG_LINE", line), "%s", text);
}

static void log_messages(const PolicyMessages *messages) {
        for (char **s = messages->warnings; s && *s; s++)
                log_message(LOG_WARNING, MESHCUT_MESSAGE_CONFIGURATION_WARNING, *s);
        for (char **s = messages->errors; s && *s; s++)
                log_message(LOG_ERR, MESHCUT_MESSAGE_CONFIGURATION_INVALID, *s);
}

static int manager_reconcile(Manager *m);
static void announce(Manager *m, Shortcut shortcut);

/* Where the programs are attached is gone, or there again. */
static void on_root_changed(Manager *m, bool added) {
        const char *root = cgroup_tree_root(m->cgroups);

        if (added) {
                log_info("CgroupRoot=%s is there again", root);
                (void) manager_reconcile(m);
                return;
        }
        log_event(LOG_WARNING, MESHCUT_MESSAGE_CGROUP_ROOT_MISSING, LOG_FIELDS("MESHCUT_CGROUP", root),
                  "CgroupRoot=%s was removed; waiting for it to come back", root);
        announce(m, SHORTCUT_SOCKET);
}

static void on_cgroup_changed(const Cgroup *cgroup, bool added, void *userdata) {
        Manager *m = userdata;
        int r;

        /* Before the policy is applied there is nothing to follow: it takes in all that is known then. */
        if (!m->socket || !m->policy_applied)
                return;
        r = socket_datapath_update_cgroup(m->socket, m->policy, cgroup->id, added ? cgroup->path : NULL);
        if (r < 0)
                log_warning("Cannot follow cgroup %s: %s", cgroup->path, strerror(-r));
        if (streq(cgroup->path, "/"))
                on_root_changed(m, added);
}

static int open_cgroups(Manager *m, const Policy *policy, CgroupTree **ret) {
        _cleanup_free_ char *mount = NULL;
        const char *root = policy->cgroup_root;
        int r;

        if (!root) {
                r = cgroup_find_mount(&mount);
                if (r < 0) {
                        log_event(LOG_ERR, MESHCUT_MESSAGE_CGROUP_ROOT_MISSING, NULL,
                                  "cgroup v2 is not mounted: %s", strerror(-r));
                        return r;
                }
                root = mount;
        }
        r = cgroup_tree_new(root, m->event, on_cgroup_changed, m, ret);
        if (r < 0)
                log_event(LOG_ERR, MESHCUT_MESSAGE_CGROUP_ROOT_MISSING, LOG_FIELDS("MESHCUT_CGROUP", root),
                          "CgroupRoot=%s cannot be used: %s", root,
                          r == -ENOTTY ? "not a directory of cgroup v2" : strerror(-r));
        return r;
}

static int apply_policy(Manager *m, const Policy *policy, const CgroupTree *tree) {
        _cleanup_free_ CgroupPath *paths = NULL;
        const Cgroup *cgroups;
        size_t n;

        cgroups = cgroup_tree_list(tree, &n);
        paths = calloc(n + 1, sizeof(*paths));
        if (!paths)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                paths[i] = (CgroupPath){ cgroups[i].id, cgroups[i].path };
        return socket_datapath_apply(m->socket, policy, paths, n);
}

static bool wants_socket(const Manager *m, const Policy *policy) {
        switch (socket_datapath_get_override(m->socket)) {
        case MESHCUT_OVERRIDE_ON:
                return true;
        case MESHCUT_OVERRIDE_OFF:
                return false;
        default:
                return policy->shortcut[SHORTCUT_SOCKET];
        }
}

static int reconcile_socket(Manager *m) {
        bool adopted;
        int r;

        free(TAKE_PTR(m->socket_refusal));
        r = probes_refuse_socket(&m->probes, m->policy->allowed_quirks, &m->socket_refusal);
        if (r < 0)
                return r;
        if (m->socket_refusal) {
                /* Pins of an earlier daemon may still be at work. */
                manager_guard_stop(m);
                r = m->socket ? socket_datapath_stop(m->socket) : socket_datapath_off(m->state_dir);
                m->socket = socket_datapath_free(m->socket);
                m->policy_applied = false;
                return r;
        }
        if (!m->socket) {
                r = socket_datapath_new(m->state_dir, m->policy->max_connections, &m->socket, &adopted);
                if (r == -EMEDIUMTYPE || r == -ENOMEM)
                        return r;
                if (r < 0)
                        return asprintf(&m->socket_refusal, "the programs do not load on this kernel: %s",
                                        strerror(-r)) < 0 ? -ENOMEM : 0;
                if (adopted)
                        log_event(LOG_NOTICE, MESHCUT_MESSAGE_PINS_ADOPTED, NULL,
                                  "Going on with the shortcut that an earlier daemon left in %s", m->state_dir);
        }
        r = manager_guard_start(m);
        if (r < 0)
                return r;
        if (!m->policy_applied) {
                r = apply_policy(m, m->policy, m->cgroups);
                if (r < 0)
                        return r;
                m->policy_applied = true;
        }
        /* Off comes first and needs nothing else to work. */
        if (!wants_socket(m, m->policy))
                return socket_datapath_set_on(m->socket, false);
        r = socket_datapath_attach(m->socket, cgroup_tree_root(m->cgroups));
        if (r < 0)
                return r;
        return socket_datapath_set_on(m->socket, true);
}

static int reconcile_veth(Manager *m) {
        int r;

        m->veth_timer = sd_event_source_disable_unref(m->veth_timer);
        r = veth_reconcile(m->veth, m->policy);
        if (r < 0)
                log_error("Cannot set up the veth shortcut: %s",
                          r == -EMEDIUMTYPE ? "the state directory is not on a mounted bpffs" : strerror(-r));
        return r;
}

static uint64_t count_active(const Manager *m) {
        struct meshcut_counters sum = {}, of_rule;

        for (uint32_t rule = 0; m->socket && rule <= MESHCUT_RULE_NONE; rule++)
                if (socket_datapath_read_counters(m->socket, rule, &of_rule) >= 0)
                        counters_add(&sum, &of_rule);
        return sum.paired > sum.closed ? sum.paired - sum.closed : 0;
}

static void log_members_remaining(const Manager *m) {
        uint64_t active = count_active(m);
        char number[24];

        if (active == 0)
                return;
        snprintf(number, sizeof(number), "%lu", active);
        log_event(LOG_INFO, MESHCUT_MESSAGE_MEMBERS_REMAINING, LOG_FIELDS("MESHCUT_CONNECTIONS", number),
                  "%s enrolled connections go on by TCP", number);
}

static void announce(Manager *m, Shortcut shortcut) {
        ShortcutState state = manager_shortcut_state(m, shortcut);
        const char *name = shortcut_to_string(shortcut), *reason = manager_shortcut_reason(m, shortcut);

        if (state == m->announced[shortcut] && streq(reason, m->announced_reason[shortcut] ?: ""))
                return;
        m->announced[shortcut] = state;
        free(m->announced_reason[shortcut]);
        m->announced_reason[shortcut] = strdup(reason);
        if (state == SHORTCUT_REFUSED)
                log_event(LOG_WARNING, MESHCUT_MESSAGE_SHORTCUT_REFUSED,
                          LOG_FIELDS("MESHCUT_SHORTCUT", name, "MESHCUT_REASON", reason), "Shortcut %s is refused: %s",
                          name, reason);
        else
                log_event(LOG_INFO, state == SHORTCUT_ACTIVE ? MESHCUT_MESSAGE_SHORTCUT_ENABLED
                                                             : MESHCUT_MESSAGE_SHORTCUT_DISABLED,
                          LOG_FIELDS("MESHCUT_SHORTCUT", name), "Shortcut %s is %s", name,
                          shortcut_state_to_string(state));
        if (shortcut == SHORTCUT_SOCKET && state == SHORTCUT_DISABLED)
                log_members_remaining(m);
        manager_bus_announce_shortcut(m, shortcut);
}

/* The only place that loads, attaches and writes maps: makes what is there what is wanted. */
static int manager_reconcile(Manager *m) {
        int r = reconcile_socket(m), k = reconcile_veth(m);

        for (Shortcut s = 0; s < SHORTCUT_MAX; s++)
                announce(m, s);
        if (r < 0)
                log_error("Cannot set up the socket shortcut: %s",
                          r == -EMEDIUMTYPE ? "the state directory is not on a mounted bpffs" : strerror(-r));
        return r < 0 ? r : k;
}

static int on_veth_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        (void) reconcile_veth(m);
        announce(m, SHORTCUT_VETH);
        return 0;
}

static void on_veth_dirty(void *userdata) {
        Manager *m = userdata;
        int r;

        if (m->veth_timer)
                return;
        r = sd_event_add_time_relative(m->event, &m->veth_timer, CLOCK_MONOTONIC, VETH_DELAY_USEC, USEC_PER_MSEC,
                                       on_veth_timer, m);
        if (r < 0)
                log_error("Cannot follow the devices: %s", strerror(-r));
}

static void on_veth_changed(const VethInterface *before, const VethInterface *after, void *userdata) {
        veth_bus_announce(userdata, before, after);
}

/* All of a reload that can fail, and nothing that stays when it does: the programs move to the new root, and the new
 * policy is built aside in the maps' other slot. */
static int prepare(Manager *m, const Policy *policy, const CgroupTree *tree) {
        bool attached = socket_datapath_is_attached(m->socket);
        int r;

        if (wants_socket(m, policy)) {
                r = socket_datapath_attach(m->socket, cgroup_tree_root(tree));
                if (r < 0) {
                        log_error("Cannot attach to %s: %s", cgroup_tree_root(tree), strerror(-r));
                        return r;
                }
        }
        r = apply_policy(m, policy, tree);
        if (r < 0 && attached)
                (void) socket_datapath_attach(m->socket, cgroup_tree_root(m->cgroups));
        return r;
}

int manager_reload(Manager *m, PolicyMessages *messages) {
        _cleanup_policy_free_ Policy *policy = NULL;
        _cleanup_(cgroup_tree_freep) CgroupTree *tree = NULL;
        int r;

        (void) sd_notify(false, "RELOADING=1");
        r = policy_load(m->config, &policy, messages);
        log_messages(messages);
        if (r >= 0)
                r = open_cgroups(m, policy, &tree);
        if (r >= 0 && m->socket)
                r = prepare(m, policy, tree);
        if (r >= 0) {
                if (m->socket && policy->max_connections != socket_datapath_max_connections(m->socket))
                        log_warning("MaxConnections=%u takes effect when the service is started anew",
                                    policy->max_connections);
                policy_free(m->policy);
                m->policy = TAKE_PTR(policy);
                cgroup_tree_free(m->cgroups);
                m->cgroups = TAKE_PTR(tree);
                r = manager_reconcile(m);
                manager_bus_announce_configuration(m);
        }
        if (r >= 0)
                log_event(LOG_INFO, MESHCUT_MESSAGE_CONFIGURATION_RELOADED, NULL, "Configuration reloaded");
        (void) sd_notify(false, "READY=1");
        return r;
}

int manager_set_shortcuts(Manager *m, unsigned shortcuts, bool on, Shortcut *ret_refused) {
        enum meshcut_override override = on ? MESHCUT_OVERRIDE_ON : MESHCUT_OVERRIDE_OFF;
        int r = 0;

        if (on && (shortcuts & (1U << SHORTCUT_VETH)))
                r = veth_check(m->veth, m->policy);
        for (Shortcut s = 0; on && s < SHORTCUT_MAX; s++)
                if ((shortcuts & (1U << s)) && manager_refusal(m, s)) {
                        *ret_refused = s;
                        return -EOPNOTSUPP;
                }
        if (r >= 0 && (shortcuts & (1U << SHORTCUT_VETH)))
                r = veth_set_override(m->veth, m->policy, override);
        if (r == -EOPNOTSUPP) {
                (void) veth_check(m->veth, m->policy);
                *ret_refused = SHORTCUT_VETH;
        }
        if (r >= 0 && (shortcuts & (1U << SHORTCUT_SOCKET)) && m->socket)
                r = socket_datapath_set_override(m->socket, override);
        return r < 0 ? r : manager_reconcile(m);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        PolicyMessages messages = {};
        Manager *m = userdata;
        int r = manager_reload(m, &messages);

        if (r < 0)
                log_error("Reload failed, the old configuration stays in force: %s", strerror(-r));
        policy_messages_done(&messages);
        return 0;
}

static int handle_signals(Manager *m) {
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(m->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(m->event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(m->event, NULL, SIGHUP, on_hangup, m);
        return r;
}

static void log_probes(const Manager *m) {
        _cleanup_free_ char *summary = NULL;

        for (int i = 0; i < PROBE_MAX; i++)
                log_debug("Kernel probe %s: %s, %s", probe_to_string(i),
                          m->probes.features[i].passed  ? "passed"
                          : m->probes.features[i].tried ? "not passed"
                                                        : "could not be tried",
                          m->probes.features[i].seen);
        if (probes_summary(&m->probes, &summary) >= 0)
                log_info("Kernel probes: %s", summary);
}

static void log_started(const Manager *m) {
        ShortcutState socket = manager_shortcut_state(m, SHORTCUT_SOCKET), veth = manager_shortcut_state(m, SHORTCUT_VETH);
        const char *reason = manager_shortcut_reason(m, SHORTCUT_SOCKET);

        if (isempty(reason))
                reason = manager_shortcut_reason(m, SHORTCUT_VETH);
        log_event(LOG_INFO, MESHCUT_MESSAGE_STARTED, LOG_FIELDS("MESHCUT_REASON", isempty(reason) ? NULL : reason),
                  "meshcut " MESHCUT_VERSION " started: socket %s, veth %s, %zu rules, below %s%s%s",
                  shortcut_state_to_string(socket), shortcut_state_to_string(veth), m->policy->n_rules,
                  cgroup_tree_root(m->cgroups), isempty(reason) ? "" : ": ", reason);
        (void) sd_notifyf(false, "READY=1\nSTATUS=socket %s, veth %s", shortcut_state_to_string(socket),
                          shortcut_state_to_string(veth));
}

int manager_start(Manager *m) {
        /* Kernels before 5.11 charge maps here; later ones ignore it. */
        struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
        PolicyMessages messages = {};
        int r;

        r = policy_load(m->config, &m->policy, &messages);
        log_messages(&messages);
        policy_messages_done(&messages);
        if (r < 0)
                return r;
        r = handle_signals(m);
        if (r < 0)
                return r;
        r = open_cgroups(m, m->policy, &m->cgroups);
        if (r < 0)
                return r;
        (void) setrlimit(RLIMIT_MEMLOCK, &unlimited);
        /* What an earlier daemon left at work must not enrol the sockets of the probes. manager_reconcile() turns it on
         * again within milliseconds. */
        r = socket_datapath_pause(m->state_dir);
        if (r < 0)
                log_warning("Cannot pause what is pinned in %s: %s", m->state_dir, strerror(-r));
        r = probes_run(&m->probes);
        if (r < 0)
                return r;
        log_probes(m);
        for (Shortcut s = 0; s < SHORTCUT_MAX; s++)
                m->announced[s] = SHORTCUT_STATE_MAX;
        r = veth_new(m->event, m->state_dir, on_veth_dirty, on_veth_changed, m, &m->veth);
        if (r < 0)
                return r;
        r = manager_bus_connect(m);
        if (r < 0)
                return r;
        r = manager_reconcile(m);
        if (r < 0)
                return r;
        r = sd_event_set_watchdog(m->event, true);
        if (r < 0)
                return r;
        log_started(m);
        return 0;
}

static void stop_shortcuts(Manager *m) {
        char number[24];

        snprintf(number, sizeof(number), "%lu", count_active(m));
        if (m->socket && socket_datapath_stop(m->socket) < 0)
                log_error("Cannot turn off the socket shortcut");
        if (veth_stop(m->veth) < 0)
                log_error("Cannot turn off the veth shortcut");
        log_event(LOG_INFO, MESHCUT_MESSAGE_STOPPED, LOG_FIELDS("MESHCUT_CONNECTIONS", number),
                  "meshcut stopped; %s enrolled connections go on by TCP until they close", number);
}

int manager_loop(Manager *m) {
        int r = sd_event_loop(m->event);

        /* As after a crash: the next daemon goes on with what is pinned. */
        if (r > 0) {
                log_error("The connection to the system bus is lost");
                return -ECONNRESET;
        }
        (void) sd_notify(false, "STOPPING=1");
        stop_shortcuts(m);
        return r;
}
