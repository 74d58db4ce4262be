// SPDX-License-Identifier: GPL-2.0-or-later

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pins.h"
#include "tc.h"

static const struct {
        const char *link; /* name of the pin, with the ifindex behind it: the same in every version */
        int tcx;          /* attach type; newer than the headers of Debian 12 */
        enum bpf_tc_attach_point clsact;
} directions[] = {
        [TC_INGRESS] = { "ingress-", 46, BPF_TC_INGRESS },
        [TC_EGRESS] = { "egress-", 47, BPF_TC_EGRESS },
};
_Static_assert(ELEMENTSOF(directions) == TC_DIRECTION_MAX, "something for every direction");

/* By these a filter of a clsact qdisc is known as ours, in every version. */
#define FILTER_HANDLE 0x6d63
#define FILTER_PRIORITY 0x6d63

/* The loopback device takes programs like any other, and asking it changes nothing. */
VethHook tc_find_hook(void) {
        uint32_t n = 0, flags;

        return bpf_prog_query(1, directions[TC_INGRESS].tcx, 0, &flags, NULL, &n) < 0 ? VETH_HOOK_CLSACT
                                                                                     : VETH_HOOK_TCX;
}

static void link_name(char buffer[static 32], TcDirection direction, uint32_t ifindex) {
        snprintf(buffer, 32, "%s%u", directions[direction].link, ifindex);
}

/* struct bpf_link_info has no member for tcx in the headers of Debian 12; it begins with the ifindex, as that of XDP. A
 * link whose device is gone names none. */
static uint32_t link_ifindex(int link) {
        struct bpf_link_info info = {};
        uint32_t size = sizeof(info);

        return bpf_obj_get_info_by_fd(link, &info, &size) < 0 ? 0 : info.xdp.ifindex;
}

static int attach_tcx(const char *directory, uint32_t ifindex, TcDirection direction, const TcProgram *program) {
        _cleanup_close_ int link = -1, known = -1;
        char name[32];

        link_name(name, direction, ifindex);
        known = pins_open(directory, name);
        if (known >= 0 && link_ifindex(known) == ifindex)
                return 0;
        pins_remove(directory, name);
        link = bpf_link_create(program->fd, ifindex, directions[direction].tcx, NULL);
        if (link < 0)
                return -errno;
        return pins_add(directory, name, link);
}

static int detach_tcx(const char *directory, const char *name) {
        _cleanup_close_ int link = pins_open(directory, name);
        int r = 0;

        if (link >= 0 && bpf_link_detach(link) < 0 && errno != ENOLINK)
                r = -errno;
        pins_remove(directory, name);
        return r;
}

/* The hook of a filter, and the options that mean ours. */
#define FILTER(hook_name, options_name, device, direction)                                                            \
        LIBBPF_OPTS(bpf_tc_hook, hook_name, .ifindex = (int) (device), .attach_point = directions[direction].clsact); \
        LIBBPF_OPTS(bpf_tc_opts, options_name, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY)

/* The id of the program in the filter that has our handle and priority; 0: there is none. */
static uint32_t filter_program(uint32_t ifindex, TcDirection direction) {
        FILTER(hook, options, ifindex, direction);

        return bpf_tc_query(&hook, &options) < 0 ? 0 : options.prog_id;
}

int tc_attach(VethHook hook, const char *directory, uint32_t ifindex, TcDirection direction, const TcProgram *program) {
        FILTER(filter, options, ifindex, direction);

        if (hook == VETH_HOOK_TCX)
                return attach_tcx(directory, ifindex, direction, program);
        if (filter_program(ifindex, direction) == program->id)
                return 0;
        /* One with our handle and priority is of a daemon whose pins are lost. */
        options.prog_fd = program->fd;
        options.flags = BPF_TC_F_REPLACE;
        return bpf_tc_attach(&filter, &options);
}

int tc_detach(VethHook hook, const char *directory, uint32_t ifindex, TcDirection direction, uint32_t program) {
        FILTER(filter, options, ifindex, direction);
        char name[32];

        link_name(name, direction, ifindex);
        if (hook == VETH_HOOK_TCX)
                return detach_tcx(directory, name);
        return filter_program(ifindex, direction) == program ? bpf_tc_detach(&filter, &options) : 0;
}

int tc_detach_links(const char *directory) {
        int r = 0;

        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++) {
                _cleanup_strv_free_ char **names = NULL;
                int k = pins_list(directory, directions[i].link, &names);

                r = r < 0 ? r : k;
                for (char **name = names; name && *name; name++) {
                        k = detach_tcx(directory, *name);
                        r = r < 0 ? r : k;
                }
        }
        return r;
}

int tc_make_clsact(uint32_t ifindex, bool *ret_made) {
        LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int) ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
        int r = bpf_tc_hook_create(&hook);

        if (r < 0 && r != -EEXIST)
                return r;
        *ret_made = r == 0;
        return 0;
}

void tc_remove_clsact(uint32_t ifindex) {
        LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int) ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

        (void) bpf_tc_hook_destroy(&hook);
}

bool tc_is_ours(uint32_t handle, uint16_t priority) {
        return handle == FILTER_HANDLE && priority == FILTER_PRIORITY;
}

uint32_t tc_find_foreign(VethHook hook, uint32_t ifindex, const TcProgram programs[static TC_DIRECTION_MAX]) {
        for (TcDirection i = 0; hook == VETH_HOOK_TCX && i < TC_DIRECTION_MAX; i++) {
                uint32_t ids[64], n = ELEMENTSOF(ids), flags;

                if (bpf_prog_query(ifindex, directions[i].tcx, 0, &flags, ids, &n) < 0)
                        continue;
                for (uint32_t j = 0; j < n && j < ELEMENTSOF(ids); j++)
                        if (ids[j] != programs[TC_INGRESS].id && ids[j] != programs[TC_EGRESS].id)
                                return ids[j];
        }
        return 0;
}
