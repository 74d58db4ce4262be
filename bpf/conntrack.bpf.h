/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What conntrack thinks of a packet that has been through the host's firewall: read from the packet itself, so that no
 * second lookup is needed and zones are right. */

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

#define NFCT_INFO 7UL /* low bits of skb->_nfct */

static __always_inline bool read_at(void *to, __u32 size, unsigned long base, __u32 offset) {
        return offset != 0 && bpf_probe_read_kernel(to, size, (void *) (base + offset)) == 0;
}

/* The conditions are those of nf_flowtable, plus no NAT: a translated flow enters and leaves under different addresses.
 * Returns 0, or a reason + 1. In direct mode only a flow that is translated is refused. */
static __always_inline __u32 conntrack_refusal(struct __sk_buff *skb, const struct meshcut_veth_control *control,
                                               __u8 protocol) {
        unsigned long nfct = BPF_CORE_READ((struct sk_buff *) skb, _nfct), conntrack = nfct & ~NFCT_INFO;
        unsigned long info = nfct & NFCT_INFO, status = 0, extensions = 0;
        __u8 state = 0, helper = 0;

        if (!conntrack || !read_at(&status, sizeof(status), conntrack, control->ct_status))
                return control->established ? MESHCUT_VETH_PASSED_UNTRACKED + 1 : 0;
        if (status & (IPS_SRC_NAT | IPS_DST_NAT))
                return MESHCUT_VETH_PASSED_NAT + 1;
        if (!control->established)
                return 0;
        if ((info != IP_CT_ESTABLISHED && info != IP_CT_ESTABLISHED_REPLY) || !(status & IPS_CONFIRMED) ||
            !(status & IPS_ASSURED) || (status & IPS_DYING))
                return MESHCUT_VETH_PASSED_UNASSURED + 1;
        if (protocol == IPPROTO_TCP && (!read_at(&state, sizeof(state), conntrack, control->ct_tcp_state) ||
                                        state != TCP_CONNTRACK_ESTABLISHED))
                return MESHCUT_VETH_PASSED_UNASSURED + 1;
        /* The first byte of the extensions is where the helper's is; 0: there is none. */
        if ((status & (IPS_SEQ_ADJUST | IPS_HELPER)) ||
            !read_at(&extensions, sizeof(extensions), conntrack, control->ct_extensions) ||
            (extensions && bpf_probe_read_kernel(&helper, sizeof(helper), (void *) extensions) != 0) || helper)
                return MESHCUT_VETH_PASSED_HELPER + 1;
        return 0;
}
