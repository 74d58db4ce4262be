/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What probe*.c share. For nobody else: the rest of the daemon sees probe.h. All functions that conclude return -ENOMEM
 * only. */

#include "probe.h"

/* Loopback answers within microseconds; this long means never. */
#define PROBE_TIMEOUT_MSEC 500

/* What a probe has seen. */
int probe_conclude(Probes *probes, ProbeId id, bool passed, const char *format, ...) _printf_(4, 5);
/* Why it could not be tried. */
int probe_cannot(Probes *probes, ProbeId id, const char *format, ...) _printf_(3, 4);

/* A connected pair on loopback. Neither end ever blocks: every read is preceded by a poll with a timeout. */
int probe_make_pair(int *ret_receiver, int *ret_sender);

/* Such a pair in a sockmap. */
typedef struct Members Members;
int members_receiver(const Members *members);
int members_sender(const Members *members);
/* Are messages handed over, or do they go by TCP? */
void members_redirect(Members *members, bool on);
/* Sends n bytes and waits until the receiver can read; *ret_pending is what FIONREAD then says. Returns how many bytes one
 * read gave, -ETIMEDOUT when it was not woken. */
int members_pass(const Members *members, size_t n, int *ret_pending);
/* Hands bytes over and splices them into a pipe. Returns how many came through, or what splice() said; what it left is
 * read then, so that the next probe finds the queue empty. *ret_lost tells that this could not be read either. */
int members_splice(const Members *members, bool *ret_lost);

/* kernel: its description of its own types, NULL when there is none. Reading it takes longer than all the rest. */
struct btf;

int probe_sockets(Probes *probes, const struct btf *kernel); /* probe-socket.c */
int probe_cgroup(Probes *probes);                            /* probe-cgroup.c */
/* probe-guard.c */
int probe_tracing(Probes *probes, const struct btf *kernel);
int probe_guard(Probes *probes, const struct btf *kernel, Members *members);
int probe_veth(Probes *probes, const struct btf *kernel); /* probe-veth.c */
