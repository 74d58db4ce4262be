/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A kernel made of paper in place of rtnl.c: namespaces, veths and addresses that change at random, events that wait in
 * a queue or get lost, answers that are newer than they, dumps that are interrupted. However they mix, when all has been
 * heard the table must be what there is.
 */

#include "link.h"

#include "test.h"

#define NAMESPACES 6
#define VETHS 12
#define ADDRESSES 4
#define EVENTS 4096

/* 0 is the host. */
typedef struct Namespace {
        int id; /* in the host; -1: none yet */
        bool dying;
        uint32_t next_ifindex;
} Namespace;

typedef struct End {
        int namespace;
        uint32_t ifindex;
        uint8_t mac;
        bool addresses[ADDRESSES], twice[ADDRESSES];
} End;

typedef struct Event {
        enum { LINK, ADDRESS, NSID } type;
        bool removed;
        RtnlLink link;
        RtnlAddress address;
        int nsid;
} Event;

struct Rtnl {
        const RtnlHandlers *handlers;
        void *userdata;
};

typedef struct World {
        Namespace namespaces[NAMESPACES];
        struct {
                bool exists;
                End ends[2];
        } veths[VETHS];
        Event events[EVENTS];
        size_t first, n_events;
        bool overrun, dirty;
        unsigned interrupt; /* one dump in so many; 0: none */
        unsigned questions, seed;
        Rtnl rtnl;
} World;

static World world;

static unsigned dice(unsigned n) {
        return random() % n;
}

static bool once_in(unsigned n) {
        return dice(n) == 0;
}

/* ---- what the kernel would say ---- */

/* Gives an id where it has none, as the kernel does when it tells of a veth that leads there. */
static int id_of(int namespace) {
        Namespace *ns = &world.namespaces[namespace];

        if (namespace == 0)
                return NSID_HOST;
        if (ns->dying)
                return NSID_UNKNOWN;
        for (int id = 0; ns->id < 0; id++) {
                bool taken = false;

                for (int i = 1; i < NAMESPACES; i++)
                        taken = taken || world.namespaces[i].id == id;
                if (!taken)
                        ns->id = id;
        }
        return ns->id;
}

/* NSID_UNKNOWN: nobody here hears of it. */
static int heard_as(int namespace) {
        return namespace == 0 ? NSID_HOST : world.namespaces[namespace].dying || world.namespaces[namespace].id < 0 ?
                       NSID_UNKNOWN : world.namespaces[namespace].id;
}

static RtnlLink link_of(int veth, int end, bool event) {
        const End *e = &world.veths[veth].ends[end], *other = &world.veths[veth].ends[!end];
        RtnlLink link;

        memset(&link, 0, sizeof(link));
        link.nsid = heard_as(e->namespace);
        link.ifindex = e->ifindex;
        snprintf(link.name, sizeof(link.name), "v%hhu-%hhu", (uint8_t) veth, (uint8_t) end);
        strcpy(link.kind, "veth");
        link.ethernet = true;
        link.address[5] = e->mac;
        link.peer = other->ifindex;
        link.peer_nsid = e->namespace == other->namespace ? link.nsid :
                         event && e->namespace != 0       ? NSID_UNKNOWN :
                                                            id_of(other->namespace);
        return link;
}

static RtnlAddress address_of(const End *end, int i, uint8_t prefix) {
        RtnlAddress address = { heard_as(end->namespace), end->ifindex, .prefix = prefix, .usable = true };

        address.address[0] = 0xfd;
        address.address[15] = i;
        memcpy(address.remote, address.address, 16);
        return address;
}

static void push(Event event) {
        /* The queue is full: from here all is lost until it has been read. */
        if (!world.overrun && once_in(400))
                world.overrun = true;
        if (world.overrun || world.n_events == EVENTS)
                return;
        world.events[world.n_events++] = event;
}

static void push_link(int veth, int end, bool removed, bool made) {
        Event event = { .type = LINK, .removed = removed, .link = link_of(veth, end, true) };

        if (made)
                event.link.peer = 0;
        if (event.link.nsid != NSID_UNKNOWN)
                push(event);
}

static void push_address(const End *end, int i, uint8_t prefix, bool removed) {
        Event event = { .type = ADDRESS, .removed = removed, .address = address_of(end, i, prefix) };

        if (event.address.nsid != NSID_UNKNOWN)
                push(event);
}

static void deliver(size_t n) {
        const RtnlHandlers *h = world.rtnl.handlers;

        for (; n > 0 && world.first < world.n_events; n--) {
                const Event *event = &world.events[world.first++];

                switch (event->type) {
                case LINK:
                        h->link(&event->link, event->removed, world.rtnl.userdata);
                        break;
                case ADDRESS:
                        h->address(&event->address, event->removed, world.rtnl.userdata);
                        break;
                case NSID:
                        h->nsid(event->nsid, world.rtnl.userdata);
                        break;
                }
        }
        if (world.first < world.n_events)
                return;
        world.first = world.n_events = 0;
        if (world.overrun) {
                world.overrun = false;
                h->lost(world.rtnl.userdata);
        }
}

/* ---- in place of rtnl.c ---- */

int rtnl_new(sd_event *event, const RtnlHandlers *handlers, void *userdata, Rtnl **ret) {
        world.rtnl = (Rtnl){ handlers, userdata };
        *ret = &world.rtnl;
        return 0;
}

Rtnl *rtnl_free(Rtnl *rtnl) {
        return NULL;
}

static int namespace_of(int nsid) {
        if (nsid == NSID_HOST)
                return 0;
        for (int i = 1; i < NAMESPACES; i++)
                if (world.namespaces[i].id == nsid)
                        return i;
        return -ENOENT;
}

static int answer(int nsid, uint32_t ifindex, bool links) {
        int namespace = namespace_of(nsid);
        bool found = false, interrupted = ifindex == 0 && world.interrupt > 0 && once_in(world.interrupt);

        world.questions++;
        if (namespace < 0)
                return namespace;
        for (int v = 0; v < VETHS; v++)
                for (int e = 0; e < 2; e++) {
                        const End *end = &world.veths[v].ends[e];
                        RtnlLink link;

                        if (!world.veths[v].exists || end->namespace != namespace ||
                            (ifindex != 0 && end->ifindex != ifindex) || (interrupted && once_in(3)))
                                continue;
                        found = true;
                        link = link_of(v, e, false);
                        if (links)
                                world.rtnl.handlers->link(&link, false, world.rtnl.userdata);
                        for (int i = 0; !links && i < ADDRESSES; i++)
                                for (uint8_t copy = 0; copy < 2; copy++) {
                                        RtnlAddress address = address_of(end, i, 64 + copy);

                                        if (copy ? end->twice[i] : end->addresses[i])
                                                world.rtnl.handlers->address(&address, false, world.rtnl.userdata);
                                }
                }
        if (interrupted)
                return -EINTR;
        return ifindex != 0 && !found ? -ENODEV : 0;
}

int rtnl_dump_links(Rtnl *rtnl, int nsid) {
        return answer(nsid, 0, true);
}

int rtnl_dump_addresses(Rtnl *rtnl, int nsid) {
        return answer(nsid, 0, false);
}

int rtnl_get_link(Rtnl *rtnl, int nsid, uint32_t ifindex) {
        return answer(nsid, ifindex, true);
}

int rtnl_get_addresses(Rtnl *rtnl, int nsid, uint32_t ifindex) {
        return answer(nsid, ifindex, false);
}

/* ---- what happens ---- */

static bool set_address(int veth, int end, int i, bool copy, bool present) {
        End *e = &world.veths[veth].ends[end];
        bool *a = copy ? &e->twice[i] : &e->addresses[i];

        if (*a == present)
                return false;
        *a = present;
        push_address(e, i, 64 + copy, !present);
        return true;
}

static void take_out(int veth, int end) {
        for (int i = 0; i < ADDRESSES; i++) {
                set_address(veth, end, i, false, false);
                set_address(veth, end, i, true, false);
        }
        push_link(veth, end, true, false);
}

static void make(int veth) {
        for (int e = 0; e < 2; e++) {
                int n = once_in(2) ? 0 : dice(NAMESPACES);

                if (world.namespaces[n].dying)
                        n = 0;
                world.veths[veth].ends[e] = (End){ n, ++world.namespaces[n].next_ifindex, dice(256), {}, {} };
        }
        world.veths[veth].exists = true;
        push_link(veth, 0, false, true);
        push_link(veth, 1, false, false);
}

static void unmake(int veth) {
        take_out(veth, 0);
        take_out(veth, 1);
        world.veths[veth].exists = false;
}

/* Only who listens where it was or comes to hears of it; not who has the other end. */
static void move(int veth, int end, int to) {
        End *e = &world.veths[veth].ends[end];

        if (e->namespace == to || world.namespaces[to].dying || world.namespaces[e->namespace].dying)
                return;
        take_out(veth, end);
        e->namespace = to;
        e->ifindex = ++world.namespaces[to].next_ifindex;
        push_link(veth, end, false, false);
}

/* First it loses its id, later its devices go, with their other ends. */
static void end_namespace(int n) {
        Namespace *ns = &world.namespaces[n];

        if (n == 0)
                return;
        if (!ns->dying) {
                if (ns->id >= 0)
                        push((Event){ .type = NSID, .nsid = ns->id });
                ns->id = -1;
                ns->dying = true;
                return;
        }
        for (int v = 0; v < VETHS; v++)
                if (world.veths[v].exists &&
                    (world.veths[v].ends[0].namespace == n || world.veths[v].ends[1].namespace == n))
                        unmake(v);
        *ns = (Namespace){ .id = -1 };
}

static void change(void) {
        int veth = dice(VETHS), end = dice(2);

        if (!world.veths[veth].exists) {
                make(veth);
                return;
        }
        switch (dice(12)) {
        case 0:
                unmake(veth);
                break;
        case 1:
                end_namespace(dice(NAMESPACES));
                break;
        case 2:
        case 3:
                move(veth, end, once_in(3) ? 0 : dice(NAMESPACES));
                break;
        case 4:
                world.veths[veth].ends[end].mac = dice(256);
                push_link(veth, end, false, false);
                break;
        case 5: /* something that is not kept */
                push_link(veth, end, false, false);
                break;
        default:
                set_address(veth, end, dice(ADDRESSES), dice(2), dice(2));
        }
}

/* ---- judging ---- */

static void on_dirty(void *userdata) {
        CHECK(!world.dirty);
        world.dirty = true;
}

static void refresh(LinkTable *table) {
        world.dirty = false;
        CHECK_INT(link_table_refresh(table), 0);
        CHECK(!world.dirty);
}

static void check_link(const Link *link, int veth, int end) {
        const End *self = &world.veths[veth].ends[end], *other = &world.veths[veth].ends[!end];
        const End *addressed = other->namespace == 0 ? self : other;
        size_t n = 0;

        CHECK_INT(link->host.address[5], self->mac);
        CHECK_INT(link->host.peer, other->ifindex);
        CHECK_INT(link->host.peer_nsid, id_of(other->namespace));
        if (other->namespace == 0 || world.namespaces[other->namespace].dying) {
                CHECK_INT(link->peer.ifindex, 0);
                CHECK_INT(link->peer_error, other->namespace == 0 ? 0 : -ENOENT);
        } else {
                CHECK_INT(link->peer.ifindex, other->ifindex);
                CHECK_INT(link->peer.nsid, world.namespaces[other->namespace].id);
                CHECK_INT(link->peer.address[5], other->mac);
                CHECK_INT(link->peer_error, 0);
        }
        for (int i = 0; i < ADDRESSES && !world.namespaces[addressed->namespace].dying; i++)
                if (addressed->addresses[i] || addressed->twice[i]) {
                        CHECK(n < link->n_addresses);
                        CHECK_INT(link->addresses[n++][15], i);
                }
        CHECK_INT(link->n_addresses, n);
}

static void check(const LinkTable *table) {
        size_t n, expected = 0;
        const Link *links = link_table_list(table, &n);

        for (size_t i = 1; i < n; i++)
                CHECK(links[i - 1].host.ifindex < links[i].host.ifindex);
        for (int v = 0; v < VETHS; v++)
                for (int e = 0; e < 2; e++) {
                        const Link *link;

                        if (!world.veths[v].exists || world.veths[v].ends[e].namespace != 0)
                                continue;
                        expected++;
                        link = link_table_find(table, world.veths[v].ends[e].ifindex);
                        CHECK(link);
                        check_link(link, v, e);
                }
        CHECK_INT(n, expected);
}

/* What is said once more is no change. */
static void check_repeated(LinkTable *table) {
        uint64_t revision = link_table_revision(table);
        unsigned questions = world.questions;

        for (int v = 0; v < VETHS; v++)
                for (int e = 0; e < 2; e++) {
                        const End *end = &world.veths[v].ends[e];

                        if (!world.veths[v].exists)
                                continue;
                        push_link(v, e, false, false);
                        for (int i = 0; i < ADDRESSES; i++)
                                if (end->addresses[i])
                                        push_address(end, i, 64, false);
                }
        if (world.overrun) {
                deliver(EVENTS);
                refresh(table);
        } else {
                deliver(EVENTS);
                CHECK(!world.dirty);
                CHECK_INT(world.questions, questions);
        }
        CHECK_INT(link_table_revision(table), revision);
}

static void reset(void) {
        memset(&world, 0, sizeof(world));
        for (int i = 0; i < NAMESPACES; i++)
                world.namespaces[i].id = -1;
}

static void run(sd_event *event, unsigned seed) {
        _cleanup_(link_table_freep) LinkTable *table = NULL;

        srandom(seed);
        reset();
        world.seed = seed;
        for (unsigned i = dice(20); i > 0; i--)
                change();
        world.n_events = 0;
        world.overrun = false;

        CHECK_INT(link_table_new(event, on_dirty, NULL, &table), 0);
        for (unsigned round = 0; round < 8; round++) {
                world.interrupt = 4;
                for (unsigned i = dice(60); i > 0; i--) {
                        change();
                        if (once_in(3))
                                deliver(dice(8));
                        if ((world.dirty && once_in(3)) || once_in(20))
                                refresh(table);
                }
                world.interrupt = 0;
                refresh(table);
                /* Whatever this asks is answered with what is older than nothing. */
                deliver(EVENTS);
                refresh(table);
                check(table);
                CHECK(!world.dirty);
                check_repeated(table);
                check(table);
        }
}

/* What was interrupted is asked again without any event. */
static void test_retry(sd_event *event) {
        _cleanup_(link_table_freep) LinkTable *table = NULL;

        reset();
        make(0);
        world.n_events = 0;
        world.overrun = false;
        CHECK_INT(link_table_new(event, on_dirty, NULL, &table), 0);
        world.interrupt = 1;
        refresh(table);
        CHECK_INT(sd_event_run(event, 0), 0);
        world.interrupt = 0;
        for (int i = 0; i < 10 && !world.dirty; i++)
                CHECK(sd_event_run(event, USEC_PER_SEC) >= 0);
        CHECK(world.dirty);
        refresh(table);
        check(table);
        CHECK_INT(sd_event_run(event, 2 * 100 * USEC_PER_MSEC), 0);
}

static void tell_seed(void) {
        if (world.seed > 0)
                fprintf(stderr, "with seed %u, the argument that repeats it\n", world.seed);
}

/* [FIRST [LAST]]: the seeds. */
int main(int argc, char *argv[]) {
        unsigned first = argc > 1 ? (unsigned) atoi(argv[1]) : 1;
        unsigned last = argc > 2 ? (unsigned) atoi(argv[2]) : argc > 1 ? first : 3000;
        sd_event *event = NULL;

        atexit(tell_seed);
        CHECK(sd_event_new(&event) >= 0);
        for (unsigned seed = first; seed <= last; seed++)
                run(event, seed);
        world.seed = 0;
        test_retry(event);
        sd_event_unref(event);
        return 0;
}
