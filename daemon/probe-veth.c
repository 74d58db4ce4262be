// SPDX-License-Identifier: GPL-2.0-or-later

/* What the veth shortcut finds here. Nothing of this is tried on a device: there is none of our own, and making one would
 * be news to everybody who manages the host's. What needs a device is tried where one is attached to. */

#include <bpf/btf.h>

#include "conntrack.h"
#include "probe-parts.h"
#include "rtnl.h"
#include "tc.h"

/* Is this function part of the kernel, or of a module that is loaded? */
static bool is_there(const struct btf *kernel, const char *function, const char *module) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "/sys/module/%s", module) >= 0 && access(path, F_OK) == 0)
                return true;
        return kernel && btf__find_by_name_kind(kernel, function, BTF_KIND_FUNC) > 0;
}

static int probe_tcx(Probes *probes) {
        return tc_find_hook() == VETH_HOOK_TCX
                       ? probe_conclude(probes, PROBE_TCX, true, "there is a tcx hook")
                       : probe_conclude(probes, PROBE_TCX, false, "no tcx hook: clsact is used");
}

static int probe_clsact(Probes *probes, const struct btf *kernel) {
        bool qdisc = is_there(kernel, "clsact_init", "sch_ingress"),
             filter = is_there(kernel, "cls_bpf_init", "cls_bpf");

        if (qdisc && filter)
                return probe_conclude(probes, PROBE_CLSACT, true, "sch_ingress and cls_bpf are there");
        return probe_cannot(probes, PROBE_CLSACT, "not tried: %s not loaded, which happens with the first device",
                            qdisc ? "cls_bpf is" : filter ? "sch_ingress is" : "sch_ingress and cls_bpf are");
}

/* Mode=established reads conntrack's entries at offsets that the kernel's own description of its types gives. */
static int probe_conntrack(Probes *probes, const struct btf *kernel) {
        struct meshcut_veth_control control = {};

        conntrack_find(kernel, &control);
        if (control.ct_status && control.ct_tcp_state && control.ct_extensions)
                return probe_conclude(probes, PROBE_CONNTRACK, true,
                                      "struct nf_conn: status at %u, state of TCP at %u, extensions at %u",
                                      control.ct_status, control.ct_tcp_state, control.ct_extensions);
        if (control.ct_status || control.ct_tcp_state || control.ct_extensions)
                return probe_conclude(probes, PROBE_CONNTRACK, false, "struct nf_conn has another form");
        return probe_cannot(probes, PROBE_CONNTRACK, "not tried: conntrack is not loaded, or its types are not described");
}

/* Without it the kernel answers questions about other namespaces with the host's own devices. */
static int probe_strict_netlink(Probes *probes) {
        int r = rtnl_try_strict();

        return r < 0 ? probe_conclude(probes, PROBE_STRICT_NETLINK, false, "NETLINK_GET_STRICT_CHK: %s", strerror(-r))
                     : probe_conclude(probes, PROBE_STRICT_NETLINK, true, "a question about no namespace gets no answer");
}

int probe_veth(Probes *probes, const struct btf *kernel) {
        int r = probe_tcx(probes);

        if (r >= 0)
                r = probe_clsact(probes, kernel);
        if (r >= 0)
                r = probe_conntrack(probes, kernel);
        return r < 0 ? r : probe_strict_netlink(probes);
}
