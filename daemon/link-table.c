// SPDX-License-Identifier: GPL-2.0-or-later

/*
 * Three sources of truth meet here: events, which come late but in order; answers, which are newer than the events that
 * wait; and ids of namespaces, which are given out again. What makes it come out right:
 *
 * - The listener is open before anything is asked. Events that are older than an answer undo it for a moment, and the
 *   last of them restores it.
 * - An event only ever changes what is known already. What is not known, or was contradicted, is marked and asked for.
 * - A veth says nothing when its other end moves. The other end's removal from its namespace does, or the end of that
 *   namespace's id: then both are asked about.
 */

#include "link-table.h"

/* ---- what to do at the next refresh ---- */

void link_table_tell(LinkTable *table) {
        if (table->told || table->refreshing)
                return;
        table->told = true;
        table->dirty(table->userdata);
}

static void changed(LinkTable *table) {
        table->revision++;
        link_table_tell(table);
}

/* Something could not be taken in, or is not sure at all. */
static void start_over(LinkTable *table) {
        table->ask_all = true;
        link_table_tell(table);
}

static void enqueue(LinkTable *table, size_t at) {
        if (!table->states[at].queued) {
                if (table->n_pending == table->n_pending_allocated) {
                        size_t n = MAX(2 * table->n_pending_allocated, 64U);
                        uint32_t *grown = realloc(table->pending, n * sizeof(uint32_t));

                        if (!grown) {
                                start_over(table);
                                return;
                        }
                        table->pending = grown;
                        table->n_pending_allocated = n;
                }
                table->pending[table->n_pending++] = table->links[at].host.ifindex;
                table->states[at].queued = true;
        }
        link_table_tell(table);
}

void link_table_ask_later(LinkTable *table, size_t at, bool host, bool peer) {
        table->states[at].ask_host |= host;
        table->states[at].ask_peer |= peer;
        enqueue(table, at);
}

void link_table_list_later(LinkTable *table, size_t at) {
        table->states[at].addresses = true;
        enqueue(table, at);
}

/* ---- the table ---- */

bool link_table_search(const LinkTable *table, uint32_t ifindex, size_t *ret) {
        size_t low = 0, high = table->n_links;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (table->links[middle].host.ifindex < ifindex)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret = low;
        return low < table->n_links && table->links[low].host.ifindex == ifindex;
}

static int insert(LinkTable *table, size_t at, const RtnlLink *host) {
        if (table->n_links == table->n_allocated) {
                size_t n = MAX(2 * table->n_allocated, 64U);
                Link *links = realloc(table->links, n * sizeof(Link));
                State *states;

                if (!links)
                        return -ENOMEM;
                table->links = links;
                states = realloc(table->states, n * sizeof(State));
                if (!states)
                        return -ENOMEM;
                table->states = states;
                table->n_allocated = n;
        }
        memmove(&table->links[at + 1], &table->links[at], (table->n_links - at) * sizeof(Link));
        memmove(&table->states[at + 1], &table->states[at], (table->n_links - at) * sizeof(State));
        table->n_links++;
        table->links[at] = (Link){ .host = *host };
        table->states[at] = (State){};
        return 0;
}

static bool equal(const RtnlLink *a, const RtnlLink *b) {
        return a->nsid == b->nsid && a->ifindex == b->ifindex && streq(a->name, b->name) && streq(a->kind, b->kind) &&
               streq(a->qdisc, b->qdisc) && a->up == b->up && a->ethernet == b->ethernet && a->xdp == b->xdp &&
               memcmp(a->address, b->address, sizeof(a->address)) == 0 && a->mtu == b->mtu && a->master == b->master &&
               a->peer == b->peer && a->peer_nsid == b->peer_nsid && a->vlan_protocol == b->vlan_protocol;
}

static bool is_veth(const RtnlLink *link) {
        return streq(link->kind, "veth");
}

bool link_table_leads_elsewhere(const RtnlLink *host) {
        return is_veth(host) && host->peer_nsid != NSID_HOST;
}

PeerRef link_table_ref_of(const RtnlLink *host) {
        return (PeerRef){ host->peer_nsid, host->peer, host->ifindex };
}

void link_table_forget_peer(LinkTable *table, size_t at, int error) {
        Link *link = &table->links[at];
        State *state = &table->states[at];

        if (state->peers.n > 0) {
                address_set_done(&state->peers);
                link_table_list_later(table, at);
        }
        if (link->peer.ifindex == 0 && link->peer_error == error)
                return;
        link->peer = (RtnlLink){};
        link->peer_error = error;
        changed(table);
}

/* Whoever has this device as its other end has to be asked where that is now. */
static void ask_others(LinkTable *table, int nsid, uint32_t ifindex) {
        size_t n, at;
        const PeerRef *refs = peer_index_find(&table->peers, nsid, ifindex, &n);

        for (size_t i = 0; i < n; i++)
                if (link_table_search(table, refs[i].host, &at)) {
                        link_table_forget_peer(table, at, 0);
                        link_table_ask_later(table, at, true, link_table_leads_elsewhere(&table->links[at].host));
                }
}

void link_table_remove_host(LinkTable *table, uint32_t ifindex) {
        size_t at;

        /* Even if it is not known: another may have been heard of since that says to lead there. */
        ask_others(table, NSID_HOST, ifindex);
        if (!link_table_search(table, ifindex, &at))
                return;
        if (is_veth(&table->links[at].host))
                peer_index_remove(&table->peers, link_table_ref_of(&table->links[at].host));
        free(table->links[at].addresses);
        address_set_done(&table->states[at].own);
        address_set_done(&table->states[at].peers);
        table->n_links--;
        memmove(&table->links[at], &table->links[at + 1], (table->n_links - at) * sizeof(Link));
        memmove(&table->states[at], &table->states[at + 1], (table->n_links - at) * sizeof(State));
        changed(table);
}

/* A veth of the host is new, or has another other end than it had. */
static void follow_peer(LinkTable *table, size_t at, bool known) {
        const RtnlLink *host = &table->links[at].host;
        bool elsewhere = link_table_leads_elsewhere(host);

        if (is_veth(host) && peer_index_add(&table->peers, link_table_ref_of(host)) < 0)
                start_over(table);
        link_table_forget_peer(table, at, elsewhere && host->peer_nsid == NSID_UNKNOWN ? -ENOENT : 0);
        link_table_list_later(table, at);
        if (elsewhere && host->peer_nsid >= 0)
                link_table_ask_later(table, at, false, true);
        /* The first event of a veth that was made from the other side says nothing of that side. And an event that
         * tells of a move may be an old one. */
        if (!table->refreshing && is_veth(host) && (known || host->peer == 0 || host->peer_nsid == NSID_UNKNOWN))
                link_table_ask_later(table, at, true, false);
}

static void set_host(LinkTable *table, const RtnlLink *host) {
        size_t at;
        bool known = link_table_search(table, host->ifindex, &at), moved;
        RtnlLink before = {};

        if (!known && insert(table, at, host) < 0) {
                start_over(table);
                return;
        }
        table->states[at].seen = true;
        if (known) {
                before = table->links[at].host;
                if (equal(&before, host))
                        return;
                table->links[at].host = *host;
        }
        moved = is_veth(&before) != is_veth(host) || before.peer != host->peer || before.peer_nsid != host->peer_nsid;
        if (!known || moved) {
                if (is_veth(&before))
                        peer_index_remove(&table->peers, link_table_ref_of(&before));
                follow_peer(table, at, known);
        }
        changed(table);
}

/* ---- the other ends ---- */

static void set_peer(LinkTable *table, size_t at, const RtnlLink *peer) {
        Link *link = &table->links[at];
        RtnlLink normal = *peer;

        /* Without IFLA_LINK it is one that is just being made. */
        if (!is_veth(peer) || (peer->peer != 0 && peer->peer != link->host.ifindex)) {
                link_table_forget_peer(table, at, -ESTALE);
                if (!table->refreshing)
                        link_table_ask_later(table, at, true, true);
                return;
        }
        table->states[at].seen = true;
        normal.peer = link->host.ifindex;
        normal.peer_nsid = NSID_HOST;
        if (link->peer_error == 0 && equal(&link->peer, &normal))
                return;
        link->peer = normal;
        link->peer_error = 0;
        changed(table);
}

/* Whether an event about the other end is of no use, for nothing is known that it could be added to. */
static bool is_unknown(LinkTable *table, size_t at) {
        const Link *link = &table->links[at];

        if (table->refreshing || link->peer.ifindex != 0)
                return false;
        /* What we have no power over stays so. */
        if (link->peer_error != -EPERM)
                link_table_ask_later(table, at, false, true);
        return true;
}

static void update_addresses(LinkTable *table, size_t at, AddressSet *set, const RtnlAddress *address, bool removed) {
        int r = address_set_update(set, address, removed);

        if (r < 0)
                start_over(table);
        else if (r > 0 && link_table_leads_elsewhere(&table->links[at].host) == (set == &table->states[at].peers))
                link_table_list_later(table, at);
}

/* ---- what is heard ---- */

static void on_link(const RtnlLink *link, bool removed, void *userdata) {
        LinkTable *table = userdata;
        const PeerRef *refs;
        size_t n, at;

        if (link->nsid == NSID_HOST) {
                if (removed)
                        link_table_remove_host(table, link->ifindex);
                else
                        set_host(table, link);
                return;
        }
        if (removed) {
                ask_others(table, link->nsid, link->ifindex);
                return;
        }
        refs = peer_index_find(&table->peers, link->nsid, link->ifindex, &n);
        for (size_t i = 0; i < n; i++)
                if (link_table_search(table, refs[i].host, &at) && !is_unknown(table, at))
                        set_peer(table, at, link);
}

static void on_address(const RtnlAddress *address, bool removed, void *userdata) {
        LinkTable *table = userdata;
        const PeerRef *refs;
        size_t n, at;

        if (address->nsid == NSID_HOST) {
                if (link_table_search(table, address->ifindex, &at))
                        update_addresses(table, at, &table->states[at].own, address, removed);
                return;
        }
        refs = peer_index_find(&table->peers, address->nsid, address->ifindex, &n);
        for (size_t i = 0; i < n; i++)
                if (link_table_search(table, refs[i].host, &at) && !is_unknown(table, at))
                        update_addresses(table, at, &table->states[at].peers, address, removed);
}

static void on_bridge_port(uint32_t ifindex, void *userdata) {
        changed(userdata);
}

static void on_filter(uint32_t ifindex, void *userdata) {
        LinkTable *table = userdata;
        size_t at;

        /* The device's own qdisc may be another one now; of that there is no event of the device. */
        if (link_table_search(table, ifindex, &at))
                link_table_ask_later(table, at, true, false);
        table->filter_revision++;
        link_table_tell(table);
}

static void on_nsid(int nsid, void *userdata) {
        ask_others(userdata, nsid, 0);
}

static void on_lost(void *userdata) {
        start_over(userdata);
}

const RtnlHandlers link_table_handlers = {
        .link = on_link,
        .address = on_address,
        .bridge_port = on_bridge_port,
        .filter = on_filter,
        .nsid = on_nsid,
        .lost = on_lost,
};
