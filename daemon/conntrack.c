// SPDX-License-Identifier: GPL-2.0-or-later

#include <bpf/btf.h>

#include "conntrack.h"

/* Bytes from the start of a struct to a member of it, by the kernel's own description of its types; 0: not found. */
static uint32_t member_offset(const struct btf *btf, const char *type_name, const char *const *path) {
        int id = btf__find_by_name_kind(btf, type_name, BTF_KIND_STRUCT);
        uint32_t bits = 0;

        for (; id > 0 && *path; path++) {
                const struct btf_type *type = btf__type_by_id(btf, id);
                const struct btf_member *members = btf_members(type);
                int found = 0;

                for (int i = 0; i < btf_vlen(type) && !found; i++) {
                        const char *name = btf__name_by_offset(btf, members[i].name_off);

                        if (!name || !streq(name, *path))
                                continue;
                        bits += btf_member_bit_offset(type, i);
                        found = btf__resolve_type(btf, members[i].type);
                }
                id = found;
        }
        return id > 0 ? bits / 8 : 0;
}

DEFINE_CLEANUP(struct btf *, btf__free);

void conntrack_find(const struct btf *kernel, struct meshcut_veth_control *control) {
        _cleanup_(btf__freep) struct btf *vmlinux = kernel ? NULL : btf__load_vmlinux_btf(), *module = NULL;
        const struct btf *btf = kernel ?: vmlinux;

        if (!btf)
                return;
        if (member_offset(btf, "nf_conn", (const char *const[]){ "status", NULL }) == 0)
                btf = module = btf__parse_split("/sys/kernel/btf/nf_conntrack", (struct btf *) btf);
        if (!btf)
                return;
        control->ct_status = member_offset(btf, "nf_conn", (const char *const[]){ "status", NULL });
        control->ct_tcp_state = member_offset(btf, "nf_conn", (const char *const[]){ "proto", "tcp", "state", NULL });
        control->ct_extensions = member_offset(btf, "nf_conn", (const char *const[]){ "ext", NULL });
}
