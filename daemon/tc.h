/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Attaches BPF programs to the ingress and egress of devices: by pinned tcx links where the kernel has them, else as
 * filters of a clsact qdisc. For datapath-veth.c only. */

#include "datapath.h"

typedef enum TcDirection {
        TC_INGRESS,
        TC_EGRESS,
        TC_DIRECTION_MAX,
} TcDirection;

typedef struct TcProgram {
        int fd;
        uint32_t id;
} TcProgram;

VethHook tc_find_hook(void);

/* directory: where links are pinned. Nothing happens where the program is attached already. */
int tc_attach(VethHook hook, const char *directory, uint32_t ifindex, TcDirection direction, const TcProgram *program);
/* Takes off what tc_attach() put there, and nothing else. A device that is gone is fine. */
int tc_detach(VethHook hook, const char *directory, uint32_t ifindex, TcDirection direction, uint32_t program);
/* Takes off all links that are pinned in directory, whoever pinned them. */
int tc_detach_links(const char *directory);

int tc_make_clsact(uint32_t ifindex, bool *ret_made);
void tc_remove_clsact(uint32_t ifindex);

/* Are these the handle and priority of our filters, in any version? */
bool tc_is_ours(uint32_t handle, uint16_t priority);

/* The id of a program at a tcx hook of the device other than these; 0: none. */
uint32_t tc_find_foreign(VethHook hook, uint32_t ifindex, const TcProgram programs[static TC_DIRECTION_MAX]);
