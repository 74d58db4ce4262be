// SPDX-License-Identifier: GPL-2.0-or-later

#include "link-table.h"

/* How soon to ask again where everything changed all the time. */
#define RETRY_USEC (100 * USEC_PER_MSEC)
/* Fewer devices than that are asked about one by one. */
#define DUMP_MIN 4U

/* ---- the devices of the host ---- */

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
                        link_table_remove_host(table, table->links[i].host.ifindex);
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
                if (address_set_end(&table->states[i].own) && !link_table_leads_elsewhere(&table->links[i].host))
                        link_table_list_later(table, i);
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
                if (link_table_leads_elsewhere(&table->links[i].host) && table->links[i].host.peer_nsid >= 0)
                        link_table_ask_later(table, i, false, true);
        return 0;
}

static int ask_some_hosts(LinkTable *table) {
        size_t n = 0, at;
        int r;

        for (size_t i = 0; i < table->n_pending; i++)
                n += link_table_search(table, table->pending[i], &at) && table->states[at].ask_host;
        if (n >= DUMP_MIN && n >= table->n_links / 4)
                return ask_all_hosts(table);

        for (size_t i = 0; i < table->n_pending; i++) {
                if (!link_table_search(table, table->pending[i], &at) || !table->states[at].ask_host)
                        continue;
                table->states[at].ask_host = false;
                r = rtnl_get_link(table->rtnl, NSID_HOST, table->pending[i]);
                if (r == -ENODEV)
                        link_table_remove_host(table, table->pending[i]);
                else if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- their other ends ---- */

/* The answers about the other end of a device are there, or there are none. */
static void settle_peer(LinkTable *table, uint32_t ifindex, int r) {
        State *state;
        size_t at;

        if (!link_table_search(table, ifindex, &at))
                return;
        state = &table->states[at];
        if (r == -EINTR)
                link_table_ask_later(table, at, false, true);
        else if (r < 0)
                link_table_forget_peer(table, at, r);
        else if (!state->seen)
                /* Or it is one that cannot be it, as set_peer() found. */
                link_table_forget_peer(table, at, table->links[at].peer_error ?: -ENODEV);
        else if (address_set_end(&state->peers))
                link_table_list_later(table, at);
}

static void prepare_peer(LinkTable *table, uint32_t ifindex) {
        size_t at;

        if (!link_table_search(table, ifindex, &at))
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
                if (!link_table_search(table, table->pending[i], &at) || !table->states[at].ask_peer)
                        continue;
                if (link_table_leads_elsewhere(&table->links[at].host) && table->links[at].host.peer_nsid >= 0)
                        refs[n++] = link_table_ref_of(&table->links[at].host);
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

/* ---- the refresh ---- */

static int list_addresses(LinkTable *table, size_t at) {
        Link *link = &table->links[at];
        State *state = &table->states[at];
        uint8_t(*list)[16];
        size_t n;
        int r;

        r = address_set_list(link_table_leads_elsewhere(&link->host) ? &state->peers : &state->own, &list, &n);
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
                if (!link_table_search(table, table->pending[i], &at))
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
        link_table_tell(userdata);
        return 0;
}

/* ---- life ---- */

int link_table_new(sd_event *event, link_table_dirty_t dirty, void *userdata, LinkTable **ret) {
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
        r = rtnl_new(event, &link_table_handlers, table, &table->rtnl);
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

        return link_table_search(table, ifindex, &at) ? &table->links[at] : NULL;
}

Rtnl *link_table_rtnl(LinkTable *table) {
        return table->rtnl;
}
