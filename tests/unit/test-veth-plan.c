/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "veth-plan.h"

#include "test.h"

#define BRIDGE 2
#define VRF 3
#define BOND 4

typedef uint8_t Address16[16];

static const Address16 one = { [10] = 0xff, 0xff, 10, 0, 0, 1 }, two = { [10] = 0xff, 0xff, 10, 0, 0, 2 };

static Link device(uint32_t ifindex, const char *name, const char *kind, uint32_t master) {
        Link link = {
                .host = { .nsid = NSID_HOST, .ifindex = ifindex, .up = true, .ethernet = true, .master = master,
                          .address = { 2, 0, 0, 0, 0, (uint8_t) ifindex }, .mtu = 1500, .peer_nsid = NSID_HOST },
        };

        strcpy(link.host.name, name);
        strcpy(link.host.kind, kind);
        return link;
}

static Link veth(uint32_t ifindex, const char *name, uint32_t master, const Address16 *address) {
        Link link = device(ifindex, name, "veth", master);

        link.host.peer = 100 + ifindex;
        link.host.peer_nsid = 7;
        strcpy(link.host.qdisc, "noqueue");
        link.peer = (RtnlLink){ .nsid = 7, .ifindex = 100 + ifindex, .ethernet = true,
                                .address = { 2, 0, 0, 0, 1, (uint8_t) ifindex } };
        link.addresses = (Address16 *) address;
        link.n_addresses = address ? 1 : 0;
        return link;
}

static const VethCandidate *find(const VethCandidates *candidates, const char *name) {
        for (size_t i = 0; i < candidates->n; i++)
                if (streq(candidates->items[i].link->host.name, name))
                        return &candidates->items[i];
        return NULL;
}

static void check_left(const VethCandidates *candidates, const char *name, const char *reason) {
        const VethCandidate *c = find(candidates, name);

        CHECK(c);
        CHECK(!c->wanted);
        if (!c->reason || !strstr(c->reason, reason))
                TEST_FAIL("%s is left for %s instead of %s", name, c->reason ?: "nothing", reason);
}

static Policy *policy(const char *interfaces, const char *uplinks, const char *excluded) {
        Policy *p = policy_new();

        CHECK(p);
        CHECK(strv_extend(&p->interfaces, interfaces) >= 0);
        CHECK(strv_extend(&p->uplinks, uplinks) >= 0);
        CHECK(strv_extend(&p->exclude_interfaces, excluded) >= 0);
        return p;
}

static void test_candidates(void) {
        _cleanup_policy_free_ Policy *p = policy("ve*", "up*", "vex*");
        _cleanup_(veth_candidates_done) VethCandidates candidates = {};
        Link links[] = {
                device(1, "lo", "", 0),
                device(BRIDGE, "br0", "bridge", 0),
                device(VRF, "blue", "vrf", 0),
                device(BOND, "bond0", "bond", 0),
                veth(5, "vebridged", BRIDGE, &one),
                veth(6, "verouted", 0, &two),
                veth(7, "veblue", VRF, &two),
                veth(8, "vebond", BOND, NULL),
                veth(9, "vexcluded", 0, NULL),
                veth(10, "other", 0, NULL),
                veth(11, "veshaped", 0, NULL),
                veth(12, "vexdp", 0, NULL),
                veth(13, "veunknown", 0, NULL),
                veth(14, "velocal", 0, NULL),
                device(15, "vemacvlan", "macvlan", 0),
                device(16, "up0", "", 0),
                device(17, "upwg", "wireguard", 0),
                veth(18, "velost", 99, NULL),
        };
        const VethCandidate *c;

        strcpy(links[10].host.qdisc, "tbf");
        strcpy(links[11].host.name, "veprogram");
        links[11].peer.xdp = true;
        links[12].peer = (RtnlLink){};
        links[12].peer_error = -EPERM;
        links[13].host.peer_nsid = NSID_HOST;
        links[16].host.ethernet = false;
        CHECK_INT(veth_plan_candidates(links, ELEMENTSOF(links), p, &candidates), 0);

        CHECK(!find(&candidates, "lo"));
        CHECK(!find(&candidates, "br0"));
        c = find(&candidates, "vebridged");
        CHECK(c && c->wanted && !c->reason);
        CHECK_INT(c->port.domain, BRIDGE);
        CHECK_INT(c->port.l3_ifindex, BRIDGE);
        CHECK_INT(c->port.flags, MESHCUT_PORT_BRIDGED);
        CHECK_INT(c->port.gateway[5], BRIDGE);
        c = find(&candidates, "verouted");
        CHECK(c && c->wanted);
        CHECK_INT(c->port.domain, 0);
        CHECK_INT(c->port.l3_ifindex, 6);
        CHECK_INT(c->port.gateway[5], 6);
        c = find(&candidates, "veblue");
        CHECK(c && c->wanted);
        CHECK_INT(c->port.domain, VRF);
        CHECK_INT(c->port.l3_ifindex, 7);
        c = find(&candidates, "up0");
        CHECK(c && c->wanted);
        CHECK_INT(c->port.flags, MESHCUT_PORT_UPLINK);
        check_left(&candidates, "vebond", "its master bond0 is a bond");
        check_left(&candidates, "vexcluded", "ExcludeInterfaces=");
        check_left(&candidates, "other", "neither Interfaces=");
        check_left(&candidates, "veshaped", "qdisc tbf");
        check_left(&candidates, "veprogram", "XDP");
        check_left(&candidates, "veunknown", "Operation not permitted");
        check_left(&candidates, "velocal", "host's own network namespace");
        check_left(&candidates, "vemacvlan", "not a veth but a macvlan");
        check_left(&candidates, "upwg", "not an Ethernet device");
        check_left(&candidates, "velost", "not known yet");
}

static void test_endpoints(void) {
        _cleanup_policy_free_ Policy *p = policy("ve*", "up*", "none");
        _cleanup_(veth_candidates_done) VethCandidates candidates = {};
        _cleanup_free_ VethEndpoint *endpoints = NULL;
        Link links[] = {
                device(BRIDGE, "br0", "bridge", 0),
                veth(5, "vea", BRIDGE, &one),
                /* The same address elsewhere is another one. */
                veth(6, "veb", 0, &one),
                veth(7, "vec", BRIDGE, &two),
                /* Nobody selected it, but it claims the address all the same. */
                veth(8, "other", BRIDGE, &two),
        };
        size_t n;

        CHECK_INT(veth_plan_candidates(links, ELEMENTSOF(links), p, &candidates), 0);
        CHECK_INT(veth_plan_endpoints(&candidates, &endpoints, &n), 0);
        CHECK_INT(n, 2);
        for (size_t i = 0; i < n; i++) {
                CHECK(memcmp(endpoints[i].key.address, one, sizeof(one)) == 0);
                CHECK_INT(endpoints[i].endpoint.ifindex, endpoints[i].key.domain == BRIDGE ? 5 : 6);
                CHECK_INT(endpoints[i].endpoint.mac[4], 1);
                CHECK_INT(endpoints[i].endpoint.mac[5], endpoints[i].endpoint.ifindex);
        }
        CHECK_STR(find(&candidates, "vec")->reason, "10.0.0.2 is also at other and takes the normal path");
        CHECK(find(&candidates, "vec")->wanted);
        CHECK(!find(&candidates, "vea")->reason);
}

static void test_addresses(void) {
        static const Address16 v6 = { 0xfd, 0, [15] = 1 };
        char buffer[ADDRESS_STRING_MAX];

        CHECK_STR(address_to_string(one, buffer), "10.0.0.1");
        CHECK_STR(address_to_string(v6, buffer), "fd00::1");
}

int main(void) {
        test_candidates();
        test_endpoints();
        test_addresses();
        return 0;
}
