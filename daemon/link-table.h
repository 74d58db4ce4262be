/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The inside of a LinkTable: what is known, what is in doubt, and what is heard. link.c does the asking. */

#include "link-address.h"
#include "link-peers.h"
#include "link.h"

/* What is only ours, one for each Link. */
typedef struct State {
        AddressSet own, peers;
        bool seen;      /* in the answers to the question that is being asked */
        bool queued;    /* is in pending */
        bool ask_host;  /* not sure of host */
        bool ask_peer;  /* not sure of peer and its addresses */
        bool addresses; /* the list of addresses is out of date */
} State;

struct LinkTable {
        sd_event_source *retry;
        Rtnl *rtnl;
        link_table_dirty_t dirty;
        void *userdata;
        /* By ifindex, side by side. */
        Link *links;
        State *states;
        size_t n_links, n_allocated;
        PeerIndex peers;
        /* Devices with something to do at the next refresh, in no order; some may be gone by then. */
        uint32_t *pending;
        size_t n_pending, n_pending_allocated;
        uint64_t revision, filter_revision;
        bool ask_all;
        bool refreshing; /* handlers are called with answers, not with events */
        bool told;       /* that there is something to refresh */
};

extern const RtnlHandlers link_table_handlers;

/* Returns whether it is there; *ret is where it is or belongs. */
bool link_table_search(const LinkTable *table, uint32_t ifindex, size_t *ret);
void link_table_remove_host(LinkTable *table, uint32_t ifindex);
/* error: why nothing is known, 0 if it is just to be asked. */
void link_table_forget_peer(LinkTable *table, size_t at, int error);

/* What has to be done at the next refresh, and that there is one to do. */
void link_table_tell(LinkTable *table);
void link_table_ask_later(LinkTable *table, size_t at, bool host, bool peer);
void link_table_list_later(LinkTable *table, size_t at);

/* Whether a device of the host is one end of a veth whose other end is in another namespace. */
bool link_table_leads_elsewhere(const RtnlLink *host);
PeerRef link_table_ref_of(const RtnlLink *host);
