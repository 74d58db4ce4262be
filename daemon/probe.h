/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Behaviours of this kernel that the shortcuts depend on, each tried on sockets and in the cgroup of our own. */

#include "util.h"

typedef enum ProbeId {
        PROBE_KERNEL_VERSION,
        PROBE_BPF_TYPES,
        PROBE_REQUEST_SOCKETS,
        PROBE_SOCKMAP,
        PROBE_ACCOUNTING,
        PROBE_TCP_AFTER_REDIRECT,
        PROBE_FIONREAD,
        PROBE_BLOCKING_RECEIVE,
        PROBE_SPLICE,
        PROBE_KTLS,
        PROBE_TRACING,
        PROBE_SPLICE_GUARD,
        PROBE_WRITE_USER,
        PROBE_FIONREAD_FIX,
        PROBE_TCX,
        PROBE_CLSACT,
        PROBE_CONNTRACK,
        PROBE_STRICT_NETLINK,
        PROBE_MAX,
} ProbeId;

typedef struct Feature {
        bool tried;
        bool passed; /* never without having been tried */
        char *seen;  /* what was seen, or why it could not be tried */
} Feature;

typedef struct Probes {
        Feature features[PROBE_MAX];
} Probes;

/* The name of a probe on the bus. */
const char *probe_to_string(ProbeId id);

/* Tries everything. A probe that cannot be tried has not passed, and says why. Returns -ENOMEM only. */
int probes_run(Probes *ret);
void probes_done(Probes *probes);

/* One line for people: how many passed, and which did not. The caller frees *ret. Returns -ENOMEM only. */
int probes_summary(const Probes *probes, char **ret);

/* Why the socket shortcut may not run here, given the quirks that the operator accepts (bits of 1 << Quirk); 0 and
 * NULL when it may. The caller frees *ret_reason. Returns -ENOMEM only. */
int probes_refuse_socket(const Probes *probes, uint64_t allowed_quirks, char **ret_reason);
