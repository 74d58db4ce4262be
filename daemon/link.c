// SPDX-License-Identifier: GPL-2.0-or-later

/*
 * Three sources of truth meet here: events, which come late but in order; answers, which are newer than the events that
 * wait; and ids of namespaces, which are given out again. What makes it come out right:
 *
 * - The listener is open before anything is asked. Events that are older than an answer undo it for a moment, and the last of
 *   them restores it.
 * - An event only ever changes what is known already. What is not known, or was contradicted, is marked and asked for.
 * - A veth says nothing when its other end moves. The other end's removal from its namespace does, or the end of that
 *   namespace's id: then both are asked about.
 */

#include "link-address.h"
#include "link-peers.h"
#include "link.h"

/* How soon to ask again where everything changed all the time. */
#define RETRY_USEC (100 * USEC_PER_MSEC)
/* Fewer devices than that are asked about one by one. */
#define DUMP_MIN 4U

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

/* ---- what to do at the next refresh ---- */

static void tell(LinkTable *table) {
        if (table->told || table->refreshing)
                return;
        table->told = true;
        table->dirty(table->userdata);
}

static void changed(LinkTable *table) {
        table->revision++;
        tell(table);
}

/* Something could not be taken in, or is not sure at all. */
static void start_over(LinkTable *table) {
        table->ask_all = true;
        tell(table);
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
        tell(table);
}

static void ask_later(LinkTable *table, size_t at, bool host, bool peer) {
        table->states[at].ask_host |= host;
        table->states[at].ask_peer |= peer;
        enqueue(table, at);
}

static void list_later(LinkTable *table, size_t at) {
        table->states[at].addresses = true;
        enqueue(table, at);
}

/* ---- the table ---- */

/* Returns whether it is there; *ret is where it is or belongs. */
static bool search(const LinkTable *table, uint32_t ifindex, size_t *ret) {
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

/* Whether a device of the host is one end of a veth whose other end is in another namespace. */
static bool leads_elsewhere(const RtnlLink *host) {
        return is_veth(host) && host->peer_nsid != NSID_HOST;
}

static PeerRef ref_of(const RtnlLink *host) {
        return (PeerRef){ host->peer_nsid, host->peer, host->ifindex };
}

static void forget_peer(LinkTable *table, size_t at, int error) {
        Link *link = &table->links[at];
        State *state = &table->states[at];

        if (state->peers.n > 0) {
                address_set_done(&state->peers);
                list_later(table, at);
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
                if (search(table, refs[i].host, &at)) {
                        forget_peer(table, at, 0);
                        ask_later(table, at, true, leads_elsewhere(&table->links[at].host));
                }
}

static void remove_host(LinkTable *table, uint32_t ifindex) {
        size_t at;

        if (!search(table, ifindex, &at))
                return;
        if (is_veth(&table->links[at].host))
                peer_index_remove(&table->peers, ref_of(&table->links[at].host));
        free(table->links[at].addresses);
        address_set_done(&table->states[at].own);
        address_set_done(&table->states[at].peers);
        table->n_links--;
        memmove(&table->links[at], &table->links[at + 1], (table->n_links - at) * sizeof(Link));
        memmove(&table->states[at], &table->states[at + 1], (table->n_links - at) * sizeof(State));
        ask_others(table, NSID_HOST, ifindex);
        changed(table);
}

/* A veth of the host is new, or has another other end than it had. */
static void follow_peer(LinkTable *table, size_t at, bool known) {
        const RtnlLink *host = &table->links[at].host;
        bool elsewhere = leads_elsewhere(host);

        if (is_veth(host) && peer_index_add(&table->peers, ref_of(host)) < 0)
                start_over(table);
        forget_peer(table, at, elsewhere && host->peer_nsid == NSID_UNKNOWN ? -ENOENT : 0);
        list_later(table, at);
        if (elsewhere && host->peer_nsid >= 0)
                ask_later(table, at, false, true);
        /* The first event of a veth that was made from the other side says nothing of that side. And an event that tells of a
         * move may be an old one. */
        if (!table->refreshing && is_veth(host) && (known || host->peer == 0 || host->peer_nsid == NSID_UNKNOWN))
                ask_later(table, at, true, false);
}

static void set_host(LinkTable *table, const RtnlLink *host) {
        size_t at;
        bool known = search(table, host->ifindex, &at), moved;
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
                        peer_index_remove(&table->peers, ref_of(&before));
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
                forget_peer(table, at, -ESTALE);
                if (!table->refreshing)
                        ask_later(table, at, true, true);
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
                ask_later(table, at, false, true);
        return true;
}

static void update_addresses(LinkTable *table, size_t at, AddressSet *set, const RtnlAddress *address, bool removed) {
        int r = address_set_update(set, address, removed);

        if (r < 0)
                start_over(table);
        else if (r > 0 && leads_elsewhere(&table->links[at].host) == (set == &table->states[at].peers))
                list_later(table, at);
}

/* ---- what is heard ---- */

static void on_link(const RtnlLink *link, bool removed, void *userdata) {
        LinkTable *table = userdata;
        const PeerRef *refs;
        size_t n, at;

        if (link->nsid == NSID_HOST) {
                if (removed)
                        remove_host(table, link->ifindex);
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
                if (search(table, refs[i].host, &at) && !is_unknown(table, at))
                        set_peer(table, at, link);
}

static void on_address(const RtnlAddress *address, bool removed, void *userdata) {
        LinkTable *table = userdata;
        const PeerRef *refs;
        size_t n, at;

        if (address->nsid == NSID_HOST) {
                if (search(table, address->ifindex, &at))
                        update_addresses(table, at, &table->states[at].own, address, removed);
                return;
        }
        refs = peer_index_find(&table->peers, address->nsid, address->ifindex, &n);
        for (size_t i = 0; i < n; i++)
                if (search(table, refs[i].host, &at) && !is_unknown(table, at))
                        update_addresses(table, at, &table->states[at].peers, address, removed);
}

static void on_bridge_port(uint32_t ifindex, void *userdata) {
        changed(userdata);
}

static void on_filter(uint32_t ifindex, void *userdata) {
        LinkTable *table = userdata;
        size_t at;

        /* The device's own qdisc may be another one now; of that there is no event of the device. */
        if (search(table, ifindex, &at))
                ask_later(table, at, true, false);
        table->filter_revision++;
        tell(table);
}

static void on_nsid(int nsid, void *userdata) {
        ask_others(userdata, nsid, 0);
}

static void on_lost(void *userdata) {
        start_over(userdata);
}

/* ---- asking ---- */

static int ask_all_hosts(LinkTable *table) {
        int r;

        for (size_t i = 0; i < table->n_links; i++)
                table->states[i].seen = false;
        r = rtnl_dump_links(table->rtnl, NSID_HOST);
        if (r < 0)
                return r;
        for (size_t i = table->n_links; i-- > 0;) {
                table->states[i].ask_host = false;
                if (!table->states[i].seen)
                        remove_host(table, table->links[i].host.ifindex);
        }
        return 0;
}

static int ask_all_addresses(LinkTable *table) {
        int r;

        for (size_t i = 0; i < table->n_links; i++)
                address_set_begin(&table->states[i].own);
        r = rtnl_dump_addresses(table->rtnl, NSID_HOST);
        if (r < 0)
                return r;
        for (size_t i = 0; i < table->n_links; i++)
                if (address_set_end(&table->states[i].own) && !leads_elsewhere(&table->links[i].host))
                        list_later(table, i);
        return 0;
}

static int ask_everything(LinkTable *table) {
        int r;

        r = ask_all_hosts(table);
        if (r < 0)
                return r;
        r = ask_all_addresses(table);
        if (r < 0)
                return r;
        for (size_t i = 0; i < table->n_links; i++)
                if (leads_elsewhere(&table->links[i].host) && table->links[i].host.peer_nsid >= 0)
                        ask_later(table, i, false, true);
        return 0;
}

static int ask_some_hosts(LinkTable *table) {
        size_t n = 0, at;
        int r;

        for (size_t i = 0; i < table->n_pending; i++)
                n += search(table, table->pending[i], &at) && table->states[at].ask_host;
        if (n >= DUMP_MIN && n >= table->n_links / 4)
                return ask_all_hosts(table);

        for (size_t i = 0; i < table->n_pending; i++) {
                if (!search(table, table->pending[i], &at) || !table->states[at].ask_host)
                        continue;
                table->states[at].ask_host = false;
                r = rtnl_get_link(table->rtnl, NSID_HOST, table->pending[i]);
                if (r == -ENODEV)
                        remove_host(table, table->pending[i]);
                else if (r < 0)
                        return r;
        }
        return 0;
}

/* The answers about the other end of a device are there, or there are none. */
static void settle_peer(LinkTable *table, uint32_t ifindex, int r) {
        State *state;
        size_t at;

        if (!search(table, ifindex, &at))
                return;
        state = &table->states[at];
        if (r == -EINTR)
                ask_later(table, at, false, true);
        else if (r < 0)
                forget_peer(table, at, r);
        else if (!state->seen)
                /* Or it is one that cannot be it, as set_peer() found. */
                forget_peer(table, at, table->links[at].peer_error ?: -ENODEV);
        else if (address_set_end(&state->peers))
                list_later(table, at);
}

static void prepare_peer(LinkTable *table, uint32_t ifindex) {
        size_t at;

        if (!search(table, ifindex, &at))
                return;
        table->states[at].ask_peer = false;
        table->states[at].seen = false;
        address_set_begin(&table->states[at].peers);
}

/* Asks about several devices in one namespace. */
static void ask_namespace(LinkTable *table, const PeerRef *refs, size_t n) {
        int r = 0, nsid = refs->nsid;
        size_t known;

        (void) peer_index_find(&table->peers, nsid, 0, &known);
        for (size_t i = 0; i < n; i++)
                prepare_peer(table, refs[i].host);

        if (n >= DUMP_MIN && n >= known / 4) {
                r = rtnl_dump_links(table->rtnl, nsid);
                if (r >= 0)
                        r = rtnl_dump_addresses(table->rtnl, nsid);
                for (size_t i = 0; i < n; i++)
                        settle_peer(table, refs[i].host, r);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                r = rtnl_get_link(table->rtnl, nsid, refs[i].peer);
                if (r >= 0)
                        r = rtnl_get_addresses(table->rtnl, nsid, refs[i].peer);
                settle_peer(table, refs[i].host, r);
        }
}

static int compare_nsid(const void *a, const void *b) {
        const PeerRef *x = a, *y = b;

        return x->nsid < y->nsid ? -1 : x->nsid > y->nsid;
}

static int ask_peers(LinkTable *table) {
        _cleanup_free_ PeerRef *refs = NULL;
        size_t n = 0, at, group;

        if (table->n_pending == 0)
                return 0;
        refs = malloc(table->n_pending * sizeof(PeerRef));
        if (!refs)
                return -ENOMEM;
        for (size_t i = 0; i < table->n_pending; i++) {
                if (!search(table, table->pending[i], &at) || !table->states[at].ask_peer)
                        continue;
                if (leads_elsewhere(&table->links[at].host) && table->links[at].host.peer_nsid >= 0)
                        refs[n++] = ref_of(&table->links[at].host);
                else
                        table->states[at].ask_peer = false;
        }
        qsort(refs, n, sizeof(PeerRef), compare_nsid);
        for (size_t i = 0; i < n; i += group) {
                for (group = 1; i + group < n && refs[i + group].nsid == refs[i].nsid; group++)
                        ;
                ask_namespace(table, refs + i, group);
        }
        return 0;
}

static int list_addresses(LinkTable *table, size_t at) {
        Link *link = &table->links[at];
        State *state = &table->states[at];
        uint8_t(*list)[16];
        size_t n;
        int r;

        r = address_set_list(leads_elsewhere(&link->host) ? &state->peers : &state->own, &list, &n);
        if (r < 0)
                return r;
        state->addresses = false;
        if (n == link->n_addresses && (n == 0 || memcmp(list, link->addresses, n * sizeof(*list)) == 0)) {
                free(list);
                return 0;
        }
        free(link->addresses);
        link->addresses = list;
        link->n_addresses = n;
        table->revision++;
        return 0;
}

/* Keeps of pending only what is still to be asked. */
static int finish_pending(LinkTable *table) {
        size_t n = 0, at;
        int r = 0;

        for (size_t i = 0; i < table->n_pending; i++) {
                if (!search(table, table->pending[i], &at))
                        continue;
                if (table->states[at].addresses && r >= 0)
                        r = list_addresses(table, at);
                table->states[at].queued = table->states[at].ask_host || table->states[at].ask_peer ||
                                           table->states[at].addresses;
                if (table->states[at].queued)
                        table->pending[n++] = table->pending[i];
        }
        table->n_pending = n;
        return r;
}

int link_table_refresh(LinkTable *table) {
        bool all = table->ask_all;
        int r, q;

        table->refreshing = true;
        table->ask_all = false;
        r = all ? ask_everything(table) : ask_some_hosts(table);
        /* Interrupted, it may have missed something: that can wait, but not what it found. */
        if (r < 0)
                table->ask_all = true;
        if (r >= 0 || r == -EINTR)
                r = ask_peers(table);
        q = finish_pending(table);
        table->refreshing = false;
        table->told = false;
        if (r < 0 || q < 0)
                return r < 0 ? r : q;
        if (!table->ask_all && table->n_pending == 0)
                return 0;
        r = sd_event_source_set_time_relative(table->retry, RETRY_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(table->retry, SD_EVENT_ONESHOT);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        tell(userdata);
        return 0;
}

/* ---- life ---- */

int link_table_new(sd_event *event, link_table_dirty_t dirty, void *userdata, LinkTable **ret) {
        static const RtnlHandlers handlers = {
                .link = on_link,
                .address = on_address,
                .bridge_port = on_bridge_port,
                .filter = on_filter,
                .nsid = on_nsid,
                .lost = on_lost,
        };
        _cleanup_(link_table_freep) LinkTable *table = calloc(1, sizeof(*table));
        int r;

        if (!table)
                return -ENOMEM;
        table->dirty = dirty;
        table->userdata = userdata;
        table->ask_all = true;
        r = sd_event_add_time_relative(event, &table->retry, CLOCK_MONOTONIC, 0, 0, on_retry, table);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(table->retry, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = rtnl_new(event, &handlers, table, &table->rtnl);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(table);
        return 0;
}

LinkTable *link_table_free(LinkTable *table) {
        if (!table)
                return NULL;
        rtnl_free(table->rtnl);
        sd_event_source_disable_unref(table->retry);
        for (size_t i = 0; i < table->n_links; i++) {
                free(table->links[i].addresses);
                address_set_done(&table->states[i].own);
                address_set_done(&table->states[i].peers);
        }
        free(table->links);
        free(table->states);
        peer_index_done(&table->peers);
        free(table->pending);
        free(table);
        return NULL;
}

uint64_t link_table_revision(const LinkTable *table) {
        return table->revision;
}

uint64_t link_table_filter_revision(const LinkTable *table) {
        return table->filter_revision;
}

const Link *link_table_list(const LinkTable *table, size_t *ret_n) {
        *ret_n = table->n_links;
        return table->links;
}

const Link *link_table_find(const LinkTable *table, uint32_t ifindex) {
        size_t at;

        return search(table, ifindex, &at) ? &table->links[at] : NULL;
}

Rtnl *link_table_rtnl(LinkTable *table) {
        return table->rtnl;
}
