/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The devices of the host, and what hangs at the other end of its veths: kept in step with the kernel by rtnl. */

#include "rtnl.h"

typedef struct Link {
        RtnlLink host;  /* as the host's namespace has it */
        /* The other end of a veth. Unknown: peer.ifindex is 0, and peer_error says why (negative errno; 0: it was not
         * asked for yet). */
        RtnlLink peer;
        int peer_error;
        /* Usable ones of the peer, or of the device itself where it has no peer elsewhere; IPv4 IPv4-mapped; no
         * link-local (IPv6), multicast or loopback; sorted. */
        uint8_t (*addresses)[16];
        size_t n_addresses;
} Link;

typedef struct LinkTable LinkTable;

/* Something changed that link_table_refresh() has not taken in yet. Called at most once between two refreshes. */
typedef void (*link_table_dirty_t)(void *userdata);

int link_table_new(sd_event *event, link_table_dirty_t dirty, void *userdata, LinkTable **ret);
LinkTable *link_table_free(LinkTable *table);
DEFINE_CLEANUP(LinkTable *, link_table_free);

/* To be called once at first, and whenever dirty was. Asks for what has to be asked for: everything at first and after
 * lost events, otherwise only the peers of new veths and of namespaces whose ids changed. Returns 0, or a negative
 * errno when the host itself could not be asked; a namespace that does not answer is noted at its links. */
int link_table_refresh(LinkTable *table);

/* Increases with everything that may change where a packet goes: devices, addresses, bridge ports. */
uint64_t link_table_revision(const LinkTable *table);
/* Increases when a filter or qdisc of some device changed. */
uint64_t link_table_filter_revision(const LinkTable *table);

/* All devices of the host, by ifindex. Valid until the table changes: until the event loop runs, or a refresh. */
const Link *link_table_list(const LinkTable *table, size_t *ret_n);
/* NULL when there is none. */
const Link *link_table_find(const LinkTable *table, uint32_t ifindex);

/* For questions that are not about links. */
Rtnl *link_table_rtnl(LinkTable *table);
