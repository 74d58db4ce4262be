// SPDX-License-Identifier: GPL-2.0-or-later

#include "log.h"
#include "messages.h"
#include "veth-plan.h"
#include "veth.h"

#define BE_LIBERAL "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"

/* Nothing tells us of a tcx program that comes or goes, nor of a sysctl. A firewall that is one has to see every packet, so it
 * is looked for as often as a lease ends. */
#define LOOK_USEC (1 * USEC_PER_SEC)

struct Veth {
        sd_event *event;
        char *state_dir;
        veth_dirty_t dirty;
        veth_changed_t changed;
        void *userdata;

        VethDatapath *dp;     /* NULL: nothing is loaded or pinned */
        LinkTable *links;     /* NULL: nobody wants the shortcut */
        sd_event_source *look;
        char *refusal;
        char *failure;        /* why the programs or the devices cannot be had; stays until veth_check() */
        uint64_t revision;    /* of the links, as they were applied */
        bool direct;          /* Mode=direct */
        bool liberal;         /* conntrack, when veth_check() looked */

        VethInterface *interfaces;
        size_t n_interfaces;
};

static void interfaces_free(VethInterface *interfaces, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(interfaces[i].reason);
                free(interfaces[i].addresses);
        }
        free(interfaces);
}

int veth_new(sd_event *event, const char *state_dir, veth_dirty_t dirty, veth_changed_t changed, void *userdata,
             Veth **ret) {
        _cleanup_(veth_freep) Veth *veth = calloc(1, sizeof(*veth));

        if (!veth)
                return -ENOMEM;
        veth->event = sd_event_ref(event);
        veth->dirty = dirty;
        veth->changed = changed;
        veth->userdata = userdata;
        veth->state_dir = strdup(state_dir);
        if (!veth->state_dir)
                return -ENOMEM;
        *ret = TAKE_PTR(veth);
        return 0;
}

Veth *veth_free(Veth *veth) {
        if (!veth)
                return NULL;
        sd_event_source_disable_unref(veth->look);
        link_table_free(veth->links);
        veth_datapath_free(veth->dp);
        interfaces_free(veth->interfaces, veth->n_interfaces);
        sd_event_unref(veth->event);
        free(veth->failure);
        free(veth->refusal);
        free(veth->state_dir);
        free(veth);
        return NULL;
}

/* ---- may it be on? ---- */

static int read_sysctl(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        int value;

        if (!f)
                return -errno;
        return fscanf(f, "%d", &value) == 1 ? value : -EIO;
}

/* -ENOENT while conntrack is not loaded. */
static int read_be_liberal(void) {
        return read_sysctl(BE_LIBERAL);
}

static int read_conntrack_count(void) {
        return read_sysctl("/proc/sys/net/netfilter/nf_conntrack_count");
}

int veth_check(Veth *veth, const Policy *policy) {
        const char *reason = veth->failure;
        int r;

        free(TAKE_PTR(veth->refusal));
        veth->liberal = read_be_liberal() > 0;
        if (!reason && policy->veth_mode == VETH_MODE_ESTABLISHED) {
                r = read_be_liberal();
                if (r == 0)
                        reason = "Mode=established needs net.netfilter.nf_conntrack_tcp_be_liberal=1: conntrack does not see "
                                 "the window move of what is shortcut";
                else if (r < 0)
                        reason = "Mode=established needs conntrack, and it is not loaded (there is no " BE_LIBERAL ")";
                else if (veth->dp && !veth_datapath_knows_conntrack(veth->dp))
                        reason = "Mode=established needs the kernel's BTF to describe struct nf_conn, and it does not";
        }
        if (!reason)
                return 0;
        veth->refusal = strdup(reason);
        return veth->refusal ? 0 : -ENOMEM;
}

const char *veth_refusal(const Veth *veth) {
        return veth->refusal;
}

static int fail(Veth *veth, int error, const char *what) {
        free(TAKE_PTR(veth->failure));
        return asprintf(&veth->failure, "%s: %s", what, strerror(-error)) < 0 ? -ENOMEM : 0;
}

bool veth_is_wanted(const Veth *veth, const Policy *policy) {
        switch (veth->dp ? veth_datapath_get_override(veth->dp) : MESHCUT_OVERRIDE_NONE) {
        case MESHCUT_OVERRIDE_ON:
                return true;
        case MESHCUT_OVERRIDE_OFF:
                return false;
        default:
                return policy->shortcut[SHORTCUT_VETH];
        }
}

bool veth_is_on(const Veth *veth) {
        return veth->dp && veth_datapath_is_on(veth->dp);
}

static int load(Veth *veth) {
        bool adopted;
        int r;

        if (veth->dp)
                return veth_datapath_find_conntrack(veth->dp);
        r = veth_datapath_new(veth->state_dir, &veth->dp, &adopted);
        if (r == -EMEDIUMTYPE || r == -ENOMEM)
                return r;
        if (r < 0)
                return fail(veth, r, "the programs do not load on this kernel");
        if (adopted)
                log_event(LOG_NOTICE, MESHCUT_MESSAGE_PINS_ADOPTED, NULL,
                          "Going on with the veth shortcut that an earlier daemon left in %s", veth->state_dir);
        return veth_datapath_find_conntrack(veth->dp);
}

static int look(sd_event_source *source, uint64_t usec, void *userdata);

static int listen_to_links(Veth *veth) {
        int r;

        if (veth->links)
                return 0;
        r = link_table_new(veth->event, veth->dirty, veth->userdata, &veth->links);
        if (r == -ENOMEM)
                return r;
        if (r == -EOPNOTSUPP)
                return fail(veth, r, "the kernel has no strict checks of netlink requests");
        if (r < 0)
                return fail(veth, r, "cannot listen to rtnetlink (CAP_NET_ADMIN and CAP_NET_BROADCAST are needed)");
        return 0;
}

static int watch_others(Veth *veth) {
        return veth->look ? 0
                          : sd_event_add_time_relative(veth->event, &veth->look, CLOCK_MONOTONIC, LOOK_USEC,
                                                       USEC_PER_SEC, look, veth);
}

/* ---- somebody else's programs ---- */

static int on_filter(bool egress, const char *kind, uint32_t program, uint32_t handle, uint16_t priority,
                     void *userdata) {
        char **what = userdata;

        if (*what || veth_datapath_owns_filter(kind, handle, priority))
                return 0;
        return asprintf(what, "somebody else's tc filter of kind %s is attached to it", kind) < 0 ? -ENOMEM : 0;
}

static int find_foreign(Veth *veth, uint32_t ifindex, char **ret) {
        uint32_t id = veth_datapath_foreign_tcx(veth->dp, ifindex);
        _cleanup_free_ char *what = NULL;

        if (id != 0) {
                if (asprintf(&what, "somebody else's tcx program (id %u) is attached to it", id) < 0)
                        return -ENOMEM;
        } else if (rtnl_dump_filters(link_table_rtnl(veth->links), ifindex, on_filter, &what) == -ENOMEM)
                return -ENOMEM;
        *ret = TAKE_PTR(what);
        return 0;
}

/* ---- reconciliation ---- */

static int attach(Veth *veth, VethCandidate *c) {
        uint32_t ifindex = c->link->host.ifindex;
        char *reason = NULL;
        int r = find_foreign(veth, ifindex, &reason);

        if (r < 0)
                return r;
        if (reason) {
                c->foreign_tcx = veth_datapath_foreign_tcx(veth->dp, ifindex) != 0;
                return veth_candidate_leave(c, reason);
        }
        r = veth_datapath_attach(veth->dp, ifindex);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                (void) veth_datapath_detach(veth->dp, ifindex, false);
                /* It is going away, which is not worth a word. */
                if (r == -ENODEV)
                        c->selected = false;
                return asprintf(&reason, "the programs cannot be attached to it: %s", strerror(-r)) < 0
                               ? -ENOMEM
                               : veth_candidate_leave(c, reason);
        }
        return 0;
}

static int compare_candidates(const void *a, const void *b) {
        const VethCandidate *x = a, *y = b;

        return (x->link->host.ifindex > y->link->host.ifindex) - (x->link->host.ifindex < y->link->host.ifindex);
}

static const VethCandidate *find_candidate(const VethCandidates *candidates, uint32_t ifindex) {
        const Link link = { .host.ifindex = ifindex };
        const VethCandidate key = { .link = &link };

        return candidates->n > 0
                       ? bsearch(&key, candidates->items, candidates->n, sizeof(key), compare_candidates)
                       : NULL;
}

/* Ports that are not wanted any more, or whose device is gone. */
static int detach_others(Veth *veth, const VethCandidates *candidates) {
        _cleanup_free_ uint32_t *ports = NULL;
        size_t n;
        int r = veth_datapath_list_ports(veth->dp, &ports, &n);

        for (size_t i = 0; r >= 0 && i < n; i++) {
                const VethCandidate *c = candidates ? find_candidate(candidates, ports[i]) : NULL;
                _cleanup_free_ char *foreign = NULL;
                int k;

                if (c && c->wanted)
                        continue;
                /* When in doubt the qdisc stays. */
                k = veth->links ? rtnl_dump_filters(link_table_rtnl(veth->links), ports[i], on_filter, &foreign) : -EINVAL;
                k = veth_datapath_detach(veth->dp, ports[i], k < 0 || foreign);
                if (k < 0)
                        log_warning("Cannot detach from interface %u: %s", ports[i], strerror(-k));
        }
        return r;
}

static int apply(Veth *veth, VethCandidates *candidates) {
        _cleanup_free_ VethEndpoint *endpoints = NULL;
        _cleanup_free_ VethPort *ports = calloc(candidates->n + 1, sizeof(*ports));
        size_t n_ports = 0, n_endpoints;
        int r;

        if (!ports)
                return -ENOMEM;
        r = veth_plan_endpoints(candidates, &endpoints, &n_endpoints);
        if (r < 0)
                return r;
        for (size_t i = 0; i < candidates->n; i++)
                if (candidates->items[i].wanted)
                        ports[n_ports++] = (VethPort){ candidates->items[i].link->host.ifindex, candidates->items[i].port };
        return veth_datapath_apply(veth->dp, ports, n_ports, endpoints, n_endpoints);
}

static int make_interface(const Veth *veth, VethCandidate *c, VethInterface *ret) {
        const Link *link = c->link;
        VethInterface interface = {
                .owner = veth,
                .ifindex = link->host.ifindex,
                .peer_ifindex = link->host.peer,
                .peer_nsid = link->host.peer_nsid,
                .selected = c->selected,
                .attached = c->wanted,
                .foreign_tcx = c->foreign_tcx,
                .bridged = c->port.flags & MESHCUT_PORT_BRIDGED,
                .hook = c->wanted ? veth_datapath_hook(veth->dp) : VETH_HOOK_NONE,
                .n_addresses = link->n_addresses,
        };

        memcpy(interface.name, link->host.name, sizeof(interface.name));
        interface.addresses = calloc(link->n_addresses + 1, sizeof(*interface.addresses));
        if (!interface.addresses)
                return -ENOMEM;
        if (link->n_addresses > 0)
                memcpy(interface.addresses, link->addresses, link->n_addresses * sizeof(*link->addresses));
        interface.reason = TAKE_PTR(c->reason);
        *ret = interface;
        return 0;
}

static bool interfaces_equal(const VethInterface *a, const VethInterface *b) {
        return a->peer_ifindex == b->peer_ifindex && a->peer_nsid == b->peer_nsid && streq(a->name, b->name) &&
               a->selected == b->selected && a->attached == b->attached && a->hook == b->hook &&
               streq(a->reason ?: "", b->reason ?: "") && a->n_addresses == b->n_addresses &&
               (a->n_addresses == 0 ||
                memcmp(a->addresses, b->addresses, a->n_addresses * sizeof(*a->addresses)) == 0);
}

static bool file_says_something(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        int c = f ? fgetc(f) : EOF;

        return c != EOF && c != '0';
}

/* What there is on this host that would see every packet of a device, were it not for Mode=direct; NULL: nothing. */
static const char *skipped_by_direct(const VethInterface *interface) {
        if (interface->bridged)
                return file_says_something("/proc/sys/net/bridge/bridge-nf-call-iptables") ||
                                       file_says_something("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
                               ? "net.bridge.bridge-nf-call-iptables or -ip6tables is 1, which shows what is bridged to "
                                 "iptables and nftables"
                               : NULL;
        /* Tables of nftables are not listed in a file; one that is at work on what is forwarded mostly asks conntrack. */
        if (file_says_something("/proc/net/ip_tables_names") || file_says_something("/proc/net/ip6_tables_names"))
                return "there are tables of iptables";
        return read_conntrack_count() > 0 ? "conntrack is at work, as for a firewall or NAT" : NULL;
}

/* Once for each interface: when the shortcut begins there. */
static void warn_of_direct(const VethInterface *interface) {
        const char *skipped = skipped_by_direct(interface);

        if (skipped)
                log_event(LOG_WARNING, MESHCUT_MESSAGE_FIREWALL_SKIPPED,
                          LOG_FIELDS("MESHCUT_INTERFACE", interface->name, "MESHCUT_REASON", skipped),
                          "Interface %s is shortcut with Mode=direct, though %s: most packets will skip it",
                          interface->name, skipped);
}

/* The entry of the journal for an interface that somebody asked for. */
static void log_interface(const Veth *veth, const VethInterface *before, const VethInterface *after) {
        if (!after->selected ||
            (before && before->selected && before->attached == after->attached &&
             streq(before->reason ?: "", after->reason ?: "")))
                return;
        if (!after->attached)
                log_event(LOG_INFO, MESHCUT_MESSAGE_INTERFACE_LEFT,
                          LOG_FIELDS("MESHCUT_INTERFACE", after->name, "MESHCUT_REASON", after->reason),
                          "Interface %s is left alone: %s", after->name, after->reason);
        else if (after->reason)
                log_event(LOG_WARNING, MESHCUT_MESSAGE_ADDRESS_CONFLICT,
                          LOG_FIELDS("MESHCUT_INTERFACE", after->name, "MESHCUT_REASON", after->reason),
                          "Interface %s: %s", after->name, after->reason);
        else
                log_event(LOG_DEBUG, MESHCUT_MESSAGE_INTERFACE_ATTACHED, LOG_FIELDS("MESHCUT_INTERFACE", after->name),
                          "Interface %s is attached", after->name);
}

/* Tells of every difference between the old list and the new one, both sorted. */
static void replace_interfaces(Veth *veth, VethInterface *interfaces, size_t n) {
        VethInterface *old = veth->interfaces;
        size_t n_old = veth->n_interfaces, i = 0, j = 0;

        veth->interfaces = interfaces;
        veth->n_interfaces = n;
        while (i < n_old || j < n) {
                const VethInterface *before = i < n_old && (j >= n || old[i].ifindex <= interfaces[j].ifindex) ? &old[i] : NULL;
                const VethInterface *after = j < n && (i >= n_old || interfaces[j].ifindex <= old[i].ifindex) ? &interfaces[j] : NULL;

                i += before != NULL;
                j += after != NULL;
                if (before && after && interfaces_equal(before, after))
                        continue;
                if (after)
                        log_interface(veth, before, after);
                if (after && after->attached && !(before && before->attached) && veth->direct)
                        warn_of_direct(after);
                veth->changed(before, after, veth->userdata);
        }
        interfaces_free(old, n_old);
}

static int publish(Veth *veth, VethCandidates *candidates) {
        VethInterface *interfaces = calloc(candidates->n + 1, sizeof(*interfaces));
        size_t n = 0;
        int r = interfaces ? 0 : -ENOMEM;

        for (; r >= 0 && n < candidates->n; n += r >= 0)
                r = make_interface(veth, &candidates->items[n], &interfaces[n]);
        if (r < 0) {
                interfaces_free(interfaces, interfaces ? n : 0);
                return r;
        }
        replace_interfaces(veth, interfaces, n);
        return 0;
}

static int follow(Veth *veth, const Policy *policy) {
        _cleanup_(veth_candidates_done) VethCandidates candidates = {};
        const Link *links;
        uint64_t revision;
        size_t n;
        int r = link_table_refresh(veth->links);

        if (r < 0)
                return r;
        links = link_table_list(veth->links, &n);
        revision = link_table_revision(veth->links);
        r = veth_plan_candidates(links, n, policy, &candidates);
        for (size_t i = 0; r >= 0 && i < candidates.n; i++)
                if (candidates.items[i].wanted)
                        r = attach(veth, &candidates.items[i]);
        if (r >= 0)
                r = detach_others(veth, &candidates);
        if (r >= 0)
                r = apply(veth, &candidates);
        /* Bridges may forward differently now though no address changed. */
        if (r >= 0 && revision != veth->revision)
                r = veth_datapath_revoke_leases(veth->dp);
        if (r >= 0)
                r = veth_datapath_set(veth->dp, true, policy->veth_mode);
        if (r < 0)
                return r;
        veth->revision = revision;
        veth->direct = policy->veth_mode == VETH_MODE_DIRECT;
        return publish(veth, &candidates);
}

static int retreat(Veth *veth, const Policy *policy) {
        int r = 0;

        if (veth->dp) {
                r = veth_datapath_set(veth->dp, false, policy->veth_mode);
                if (r >= 0)
                        r = detach_others(veth, NULL);
        }
        veth->links = link_table_free(veth->links);
        replace_interfaces(veth, NULL, 0);
        return r;
}

int veth_reconcile(Veth *veth, const Policy *policy) {
        int r;

        free(TAKE_PTR(veth->failure));
        /* Pins tell what was wanted at run time, so they are opened even where the configuration wants nothing. */
        if (veth_datapath_is_pinned(veth->state_dir) || policy->shortcut[SHORTCUT_VETH]) {
                r = load(veth);
                if (r < 0)
                        return r;
        }
        if (veth->dp && veth_is_wanted(veth, policy)) {
                r = listen_to_links(veth);
                if (r >= 0)
                        r = watch_others(veth);
                if (r < 0)
                        return r;
        } else
                veth->look = sd_event_source_disable_unref(veth->look);
        r = veth_check(veth, policy);
        if (r < 0)
                return r;
        if (veth->dp && !veth->refusal && veth_is_wanted(veth, policy)) {
                r = follow(veth, policy);
                if (r >= 0 || r == -ENOMEM)
                        return r;
                /* No reason to take the rest of the service down; look() tries again. */
                r = fail(veth, r, "the devices cannot be followed");
                if (r >= 0)
                        r = veth_check(veth, policy);
                if (r < 0)
                        return r;
        }
        r = retreat(veth, policy);
        if (r >= 0 && veth->dp && !policy->shortcut[SHORTCUT_VETH] &&
            veth_datapath_get_override(veth->dp) == MESHCUT_OVERRIDE_NONE)
                r = veth_stop(veth);
        return r;
}

/* Has anybody put a program beside ours, or taken away the one that a device waits for? */
static bool others_changed(const Veth *veth) {
        for (size_t i = 0; i < veth->n_interfaces; i++) {
                const VethInterface *interface = &veth->interfaces[i];

                if ((interface->attached || interface->foreign_tcx) &&
                    (veth_datapath_foreign_tcx(veth->dp, interface->ifindex) != 0) != interface->foreign_tcx)
                        return true;
        }
        return false;
}

static int look(sd_event_source *source, uint64_t usec, void *userdata) {
        Veth *veth = userdata;
        /* Whether conntrack is liberal decides about Mode=established, and only about that. */
        bool changed = veth->failure || veth->liberal != (read_be_liberal() > 0) || others_changed(veth);

        (void) sd_event_source_set_time_relative(source, LOOK_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (changed)
                veth->dirty(veth->userdata);
        return 0;
}

/* ---- requests ---- */

int veth_set_override(Veth *veth, const Policy *policy, enum meshcut_override override) {
        int r;

        /* Off already, and nothing that had to remember it. */
        if (override == MESHCUT_OVERRIDE_OFF && !veth->dp && !policy->shortcut[SHORTCUT_VETH])
                return 0;
        r = load(veth);
        if (r < 0)
                return r;
        return veth->dp ? veth_datapath_set_override(veth->dp, override) : -EOPNOTSUPP;
}

const VethInterface *veth_list(const Veth *veth, size_t *ret_n) {
        *ret_n = veth->n_interfaces;
        return veth->interfaces;
}

const VethInterface *veth_find(const Veth *veth, uint32_t ifindex) {
        for (size_t i = 0; i < veth->n_interfaces; i++)
                if (veth->interfaces[i].ifindex == ifindex)
                        return &veth->interfaces[i];
        return NULL;
}

int veth_read_counters(const Veth *veth, uint32_t ifindex, struct meshcut_veth_counters *ret) {
        if (!veth->dp) {
                *ret = (struct meshcut_veth_counters){};
                return 0;
        }
        return veth_datapath_read_counters(veth->dp, ifindex, ret);
}

int veth_stop(Veth *veth) {
        int r = 0, k;

        if (veth->dp) {
                r = detach_others(veth, NULL);
                k = veth_datapath_stop(veth->dp);
                r = r < 0 ? r : k;
        }
        veth->dp = veth_datapath_free(veth->dp);
        return r;
}
