/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Somebody else's program for tc, one that does nothing.
 *
 *   tcx DEVICE ingress|egress   on a device by tcx, until this is killed. Prints "attached". Exit status 77 where the kernel
 *                               has no tcx
 *   tcx pin PATH                pinned, for the command tc
 */

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "util.h"

int main(int argc, char **argv) {
        const struct bpf_insn instructions[] = {
                { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
                { .code = BPF_JMP | BPF_EXIT },
        };
        int program, link;

        if (argc != 3)
                die("usage: tcx DEVICE ingress|egress | pin PATH");
        program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "somebody_elses", "GPL", instructions,
                                sizeof(instructions) / sizeof(instructions[0]), NULL);
        if (program < 0)
                die("program: %m");
        if (strcmp(argv[1], "pin") == 0) {
                if (bpf_obj_pin(program, argv[2]) < 0)
                        die("pin: %m");
                return 0;
        }
        /* The numbers of BPF_TCX_INGRESS and BPF_TCX_EGRESS, which the headers of Debian 12 do not have. */
        link = bpf_link_create(program, if_nametoindex(argv[1]), strcmp(argv[2], "egress") == 0 ? 47 : 46, NULL);
        if (link < 0 && errno == EINVAL)
                return 77;
        if (link < 0)
                die("link: %m");
        puts("attached");
        fflush(stdout);
        for (;;)
                pause();
}
