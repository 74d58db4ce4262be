// SPDX-License-Identifier: GPL-2.0-or-later

#include <arpa/inet.h>
#include <stdarg.h>

#include "glob.h"
#include "veth-plan.h"

static bool matches(char *const *globs, const char *name) {
        for (char *const *glob = globs; glob && *glob; glob++)
                if (glob_match(*glob, name))
                        return true;
        return false;
}

static int compare_links(const void *a, const void *b) {
        const Link *x = a, *y = b;

        return (x->host.ifindex > y->host.ifindex) - (x->host.ifindex < y->host.ifindex);
}

static const Link *find_link(const Link *links, size_t n, uint32_t ifindex) {
        const Link key = { .host.ifindex = ifindex };

        return n > 0 ? bsearch(&key, links, n, sizeof(*links), compare_links) : NULL;
}

int veth_candidate_leave(VethCandidate *candidate, char *reason) {
        candidate->wanted = false;
        free(candidate->reason);
        candidate->reason = reason;
        return reason ? 0 : -ENOMEM;
}

_printf_(2, 3) static int leave(VethCandidate *candidate, const char *format, ...) {
        char *reason;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&reason, format, ap);
        va_end(ap);
        return veth_candidate_leave(candidate, n < 0 ? NULL : reason);
}

/* How a device is joined to the host's forwarding. Leaves it where that is not known to us. */
static int find_domain(VethCandidate *c, const Link *links, size_t n) {
        const RtnlLink *host = &c->link->host;
        const Link *master = host->master ? find_link(links, n, host->master) : NULL;

        if (host->master && !master)
                return leave(c, "its master is not known yet");
        if (master && streq(master->host.kind, "bridge")) {
                c->port.domain = c->port.l3_ifindex = master->host.ifindex;
                c->port.flags |= MESHCUT_PORT_BRIDGED;
                memcpy(c->port.gateway, master->host.address, sizeof(c->port.gateway));
                return 0;
        }
        if (master && !streq(master->host.kind, "vrf"))
                return leave(c, "its master %s is a %s, not a bridge", master->host.name,
                             isempty(master->host.kind) ? "device of unknown kind" : master->host.kind);
        c->port.domain = master ? master->host.ifindex : 0;
        c->port.l3_ifindex = host->ifindex;
        memcpy(c->port.gateway, host->address, sizeof(c->port.gateway));
        return 0;
}

/* What a packet would skip that is moved past a veth into its peer. */
static int judge_veth(VethCandidate *c) {
        const RtnlLink *host = &c->link->host, *peer = &c->link->peer;

        if (!streq(host->kind, "veth"))
                return leave(c, "it is not a veth but a %s", isempty(host->kind) ? "hardware or loopback device" : host->kind);
        if (host->peer_nsid == NSID_HOST)
                return leave(c, "its peer is in the host's own network namespace");
        /* Its namespace is going away, and the veth with it. */
        if (c->link->peer_error == -ENOENT || c->link->peer_error == -ENODEV)
                c->selected = false;
        if (peer->ifindex == 0)
                return leave(c, "its peer in another namespace cannot be asked for: %s",
                             c->link->peer_error ? strerror(-c->link->peer_error) : "not answered yet");
        if (!peer->ethernet)
                return leave(c, "its peer has no MAC address");
        if (peer->xdp)
                return leave(c, "an XDP program is attached to its peer, and would be skipped");
        /* The qdisc of a device that is down is "noop". */
        if (!isempty(host->qdisc) && !streq(host->qdisc, "noqueue") && !streq(host->qdisc, "noop"))
                return leave(c, "its qdisc %s would be skipped", host->qdisc);
        return 0;
}

static int judge_uplink(VethCandidate *c) {
        c->port.flags |= MESHCUT_PORT_UPLINK;
        return c->link->host.ethernet ? 0 : leave(c, "it is not an Ethernet device");
}

static int judge(VethCandidate *c, const Link *links, size_t n, const Policy *policy) {
        const char *name = c->link->host.name;
        bool uplink = matches(policy->uplinks, name);
        int r;

        c->selected = uplink || matches(policy->interfaces, name);
        c->wanted = true;
        /* Of those that nobody selected, too: their addresses count in their domain. */
        r = find_domain(c, links, n);
        if (r < 0)
                return r;
        if (!c->selected)
                return leave(c, "neither Interfaces= nor Uplinks= names it");
        if (matches(policy->exclude_interfaces, name)) {
                c->selected = false;
                return leave(c, "ExcludeInterfaces= names it");
        }
        if (!c->wanted)
                return 0;
        return uplink ? judge_uplink(c) : judge_veth(c);
}

int veth_plan_candidates(const Link *links, size_t n_links, const Policy *policy, VethCandidates *ret) {
        _cleanup_(veth_candidates_done) VethCandidates candidates = { .items = calloc(n_links + 1, sizeof(VethCandidate)) };

        if (!candidates.items)
                return -ENOMEM;
        for (size_t i = 0; i < n_links; i++) {
                VethCandidate *c = &candidates.items[candidates.n++];
                int r;

                c->link = &links[i];
                r = judge(c, links, n_links, policy);
                if (r < 0)
                        return r;
                /* Not a word of what nobody asked for, but veths are all of interest. */
                if (!c->selected && !streq(links[i].host.kind, "veth")) {
                        free(TAKE_PTR(c->reason));
                        candidates.n--;
                }
        }
        *ret = candidates;
        candidates = (VethCandidates){};
        return 0;
}

void veth_candidates_done(VethCandidates *candidates) {
        for (size_t i = 0; i < candidates->n; i++)
                free(candidates->items[i].reason);
        free(TAKE_PTR(candidates->items));
        candidates->n = 0;
}

/* An address as found behind a candidate, wanted or not. */
typedef struct Finding {
        struct meshcut_endpoint_key key; /* first: compare_findings() */
        VethCandidate *candidate;
} Finding;

static int compare_findings(const void *a, const void *b) {
        return memcmp(a, b, sizeof(struct meshcut_endpoint_key));
}

/* One container's share of the programs' room for addresses. */
#define ADDRESSES_MAX 256

/* Everybody's veths: those that are left claim addresses as well as others. */
static size_t collect(VethCandidates *candidates, Finding *findings) {
        size_t n = 0;

        for (size_t i = 0; i < candidates->n; i++) {
                VethCandidate *c = &candidates->items[i];

                if (c->link->peer.ifindex == 0 || (c->port.flags & MESHCUT_PORT_UPLINK))
                        continue;
                for (size_t j = 0; j < MIN(c->link->n_addresses, (size_t) ADDRESSES_MAX); j++) {
                        Finding *f = &findings[n++];

                        f->candidate = c;
                        f->key.domain = c->port.domain;
                        memcpy(f->key.address, c->link->addresses[j], sizeof(f->key.address));
                }
        }
        qsort(findings, n, sizeof(*findings), compare_findings);
        return n;
}

static int report_conflict(const Finding *at, const Finding *other) {
        char address[ADDRESS_STRING_MAX];

        if (!at->candidate->wanted || at->candidate->reason)
                return 0;
        return asprintf(&at->candidate->reason, "%s is also at %s and takes the normal path",
                        address_to_string(at->key.address, address), other->candidate->link->host.name) < 0
                       ? -ENOMEM
                       : 0;
}

int veth_plan_endpoints(VethCandidates *candidates, VethEndpoint **ret, size_t *ret_n) {
        _cleanup_free_ VethEndpoint *endpoints = NULL;
        _cleanup_free_ Finding *findings = NULL;
        size_t n = 0, n_findings = 0;

        for (size_t i = 0; i < candidates->n; i++)
                n_findings += candidates->items[i].link->n_addresses;
        findings = calloc(n_findings + 1, sizeof(*findings));
        endpoints = calloc(n_findings + 1, sizeof(*endpoints));
        if (!findings || !endpoints)
                return -ENOMEM;
        n_findings = collect(candidates, findings);
        for (size_t i = 0; i < n_findings; i++) {
                const Finding *f = &findings[i];
                const Finding *twin = i > 0 && compare_findings(f, f - 1) == 0                  ? f - 1
                                      : i + 1 < n_findings && compare_findings(f, f + 1) == 0 ? f + 1
                                                                                              : NULL;

                if (twin) {
                        int r = report_conflict(f, twin);

                        if (r < 0)
                                return r;
                        continue;
                }
                if (!f->candidate->wanted)
                        continue;
                endpoints[n].key = f->key;
                endpoints[n].endpoint.ifindex = f->candidate->link->host.ifindex;
                memcpy(endpoints[n].endpoint.mac, f->candidate->link->peer.address, 6);
                n++;
        }
        *ret = TAKE_PTR(endpoints);
        *ret_n = n;
        return 0;
}

const char *address_to_string(const uint8_t address[static 16], char buffer[static ADDRESS_STRING_MAX]) {
        static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

        if (memcmp(address, mapped, sizeof(mapped)) == 0)
                return inet_ntop(AF_INET, address + 12, buffer, ADDRESS_STRING_MAX);
        return inet_ntop(AF_INET6, address, buffer, ADDRESS_STRING_MAX);
}
