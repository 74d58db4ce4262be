// SPDX-License-Identifier: GPL-2.0-or-later

/* Tracing programs: whether there are any, and whether the guard does with them what it is for. */

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "datapath.h"
#include "probe-parts.h"

/* Loads a tracing program for a function that the guard watches. */
static int load(const struct btf *kernel, const struct bpf_insn *instructions, size_t n) {
        int id = kernel ? btf__find_by_name_kind(kernel, "tcp_splice_read", BTF_KIND_FUNC) : -ENOENT, program;
        LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_FENTRY, .attach_btf_id = id);

        if (id < 0)
                return id;
        program = bpf_prog_load(BPF_PROG_TYPE_TRACING, "probe_tracing", "GPL", instructions, n, &options);
        return program < 0 ? -errno : program;
}

/* One that does nothing. */
int probe_tracing(Probes *probes, const struct btf *kernel) {
        const struct bpf_insn instructions[] = {
                { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
                { .code = BPF_JMP | BPF_EXIT },
        };
        _cleanup_close_ int program = load(kernel, instructions, ELEMENTSOF(instructions)), link = -1;

        if (program < 0)
                return probe_conclude(probes, PROBE_TRACING, false, "program does not load: %s", strerror(-program));
        link = bpf_raw_tracepoint_open(NULL, program);
        if (link < 0)
                return probe_conclude(probes, PROBE_TRACING, false, "program does not attach: %s", strerror(errno));
        return probe_conclude(probes, PROBE_TRACING, true, "fentry works");
}

static bool has_sys_admin(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

        return syscall(SYS_capget, &header, data) == 0 &&
               (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN));
}

/* May a program write to a process? Only where FIONREAD has to be mended: the kernel tells its log of every such program. */
static int probe_write_user(Probes *probes, const struct btf *kernel) {
        const struct bpf_insn instructions[] = {
                { .code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8 },
                { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1 },
                { .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10 },
                { .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -8 },
                { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = 8 },
                { .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_write_user },
                { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
                { .code = BPF_JMP | BPF_EXIT },
        };
        _cleanup_close_ int program = -1;

        if (probes->features[PROBE_FIONREAD].passed)
                return probe_cannot(probes, PROBE_WRITE_USER, "not tried: FIONREAD needs no mending");
        if (!probes->features[PROBE_TRACING].passed)
                return probe_cannot(probes, PROBE_WRITE_USER, "not tried: no tracing programs");
        program = load(kernel, instructions, ELEMENTSOF(instructions));
        if (program >= 0)
                return probe_conclude(probes, PROBE_WRITE_USER, true, "bpf_probe_write_user can be used");
        return probe_conclude(probes, PROBE_WRITE_USER, false, "bpf_probe_write_user: %s%s", strerror(-program),
                              has_sys_admin() ? " (lockdown?)" : ", it takes CAP_SYS_ADMIN: see meshcutd(8)");
}

/* A guard by itself that takes the receiver for an enrolled one. */
static int guard_receiver(GuardPart part, const Members *members, Guard **ret) {
        _cleanup_(guard_freep) Guard *guard = NULL;
        uint64_t cookie;
        socklen_t size = sizeof(cookie);
        int r = guard_new(NULL, part, &guard);

        if (r < 0)
                return r;
        if (getsockopt(members_receiver(members), SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0)
                return -errno;
        r = guard_add_member(guard, cookie);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(guard);
        return 0;
}

/* With the guard splice() must fail at once, and take nothing. */
static int probe_splice_guard(Probes *probes, Members *members) {
        _cleanup_(guard_freep) Guard *guard = NULL;
        bool lost;
        int r;

        if (!probes->features[PROBE_TRACING].passed)
                return probe_cannot(probes, PROBE_SPLICE_GUARD, "not tried: no tracing programs");
        r = guard_receiver(GUARD_SPLICE, members, &guard);
        if (r < 0)
                return probe_conclude(probes, PROBE_SPLICE_GUARD, false, "programs do not load: %s", strerror(-r));
        members_redirect(members, true);
        r = members_splice(members, &lost);
        return probe_conclude(probes, PROBE_SPLICE_GUARD, r == -EINVAL && !lost,
                              "by %s: splice() of an enrolled socket: %s%s", guard_hook(guard),
                              r < 0 ? strerror(-r) : "not refused", lost ? ", bytes lost" : "");
}

/* With the fix-up FIONREAD must be exact for redirected bytes, for TCP's, and not count any twice. */
static int probe_fionread_fix(Probes *probes, Members *members) {
        _cleanup_(guard_freep) Guard *guard = NULL;
        int by_redirect = 0, by_tcp = 0, r;

        if (probes->features[PROBE_FIONREAD].passed)
                return probe_cannot(probes, PROBE_FIONREAD_FIX, "not tried: not needed");
        if (!probes->features[PROBE_WRITE_USER].passed)
                return probe_cannot(probes, PROBE_FIONREAD_FIX, "not tried: no program may write to a process");
        r = guard_receiver(GUARD_FIONREAD, members, &guard);
        if (r < 0)
                return probe_conclude(probes, PROBE_FIONREAD_FIX, false, "programs do not load: %s", strerror(-r));
        members_redirect(members, true);
        r = members_pass(members, 100, &by_redirect);
        members_redirect(members, false);
        if (r == 100)
                r = members_pass(members, 10, &by_tcp);
        return probe_conclude(probes, PROBE_FIONREAD_FIX, r == 10 && by_redirect == 100 && by_tcp == 10,
                              "by %s: counts %d of 100 redirected bytes, %d of 10 by TCP", guard_hook(guard),
                              by_redirect, by_tcp);
}

int probe_guard(Probes *probes, const struct btf *kernel, Members *members) {
        int r = probe_splice_guard(probes, members);

        if (r >= 0)
                r = probe_write_user(probes, kernel);
        return r < 0 ? r : probe_fionread_fix(probes, members);
}
