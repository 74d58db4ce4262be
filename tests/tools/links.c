/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Prints what the service knows of the devices of this network namespace: all of it at first (--once: that only), and
 * again after each refresh; or at each SIGUSR1 (--on-signal). One line for each device, and one that ends the table.
 *
 * --receive-buffer BYTES lets the listening socket lose events. --filters IFINDEX prints what filters there are, and
 * ends.
 */

#include <arpa/inet.h>
#include <getopt.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "../../daemon/link.h"
#include "util.h"

typedef struct Printer {
        LinkTable *table;
        sd_event *event;
        sd_event_source *refresh;
        unsigned refreshes, dirty;
        int listener;
        bool on_signal;
} Printer;

static void print_addresses(const Link *link) {
        char s[INET6_ADDRSTRLEN];

        printf(" addresses=");
        for (size_t i = 0; i < link->n_addresses; i++) {
                const uint8_t *a = link->addresses[i];
                bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *) a);

                inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a + 12 : a, s, sizeof(s));
                printf("%s%s", i ? "," : "", s);
        }
}

static void print_mac(const char *name, const RtnlLink *link) {
        const uint8_t *a = link->address;

        if (link->ethernet)
                printf(" %s=%02x:%02x:%02x:%02x:%02x:%02x", name, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void print_link(const Link *link) {
        const RtnlLink *host = &link->host, *peer = &link->peer;

        printf("link=%u name=%s kind=%s up=%s mtu=%u qdisc=%s master=%u", host->ifindex, host->name, host->kind,
               yes_no(host->up), host->mtu, host->qdisc, host->master);
        print_mac("mac", host);
        if (host->xdp)
                printf(" xdp=yes");
        if (host->vlan_protocol)
                printf(" vlan=%04x", host->vlan_protocol);
        if (host->peer)
                printf(" iflink=%u nsid=%d", host->peer, host->peer_nsid);
        if (peer->ifindex) {
                printf(" peer=%u peer-nsid=%d peer-name=%s peer-kind=%s peer-up=%s peer-mtu=%u", peer->ifindex,
                       peer->nsid, peer->name, peer->kind, yes_no(peer->up), peer->mtu);
                print_mac("peer-mac", peer);
        }
        if (link->peer_error)
                printf(" error=%s", strerrorname_np(-link->peer_error));
        print_addresses(link);
        printf("\n");
}

static int receive_buffer(int fd) {
        int size = 0;
        socklen_t length = sizeof(size);

        (void) getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &length);
        return size;
}

static void print_table(const Printer *p) {
        size_t n;
        const Link *links = link_table_list(p->table, &n);

        for (size_t i = 0; i < n; i++) {
                if (i > 0 && links[i - 1].host.ifindex >= links[i].host.ifindex)
                        die("the table is not sorted");
                if (link_table_find(p->table, links[i].host.ifindex) != &links[i])
                        die("link_table_find() does not find %u", links[i].host.ifindex);
                print_link(&links[i]);
        }
        printf("end links=%zu revision=%llu filters=%llu refreshes=%u receive-buffer=%d\n", n,
               (unsigned long long) link_table_revision(p->table),
               (unsigned long long) link_table_filter_revision(p->table), p->refreshes, receive_buffer(p->listener));
        fflush(stdout);
}

static void refresh(Printer *p) {
        int r;

        p->dirty = 0;
        p->refreshes++;
        r = link_table_refresh(p->table);
        if (r < 0)
                die("link_table_refresh: %s", strerror(-r));
        if (!p->on_signal)
                print_table(p);
}

static int on_refresh(sd_event_source *source, void *userdata) {
        refresh(userdata);
        return 0;
}

static int on_print(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        print_table(userdata);
        return 0;
}

static void on_dirty(void *userdata) {
        Printer *p = userdata;

        if (p->dirty++)
                die("dirty twice between two refreshes");
        sd_event_source_set_enabled(p->refresh, SD_EVENT_ONESHOT);
}

static int print_filter(bool egress, const char *kind, uint32_t program, uint32_t handle, uint16_t priority,
                        void *userdata) {
        printf("filter=%s kind=%s program=%u handle=%u priority=%u\n", egress ? "egress" : "ingress", kind, program,
               handle, priority);
        return 0;
}

/* The service has no options for its sockets: the one that listens is found among the descriptors, by its groups. */
static int find_listener(void) {
        for (int fd = 3; fd < 64; fd++) {
                uint32_t groups[4] = {};
                socklen_t length = sizeof(groups);

                if (getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &length) == 0 && groups[0])
                        return fd;
        }
        die("nothing listens");
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "once",           no_argument,       NULL, 'o' },
                { "on-signal",      no_argument,       NULL, 's' },
                { "receive-buffer", required_argument, NULL, 'b' },
                { "filters",        required_argument, NULL, 'f' },
                {}
        };
        bool once = false;
        int buffer = 0, filters = 0, c, r;
        Printer p = {};
        sigset_t mask;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'o': once = true; break;
                case 's': p.on_signal = true; break;
                case 'b': buffer = atoi(optarg); break;
                case 'f': filters = atoi(optarg); break;
                default: return EXIT_FAILURE;
                }

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGUSR1);
        sigprocmask(SIG_BLOCK, &mask, NULL);
        r = sd_event_default(&p.event);
        if (r >= 0)
                r = sd_event_add_signal(p.event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(p.event, NULL, SIGUSR1, on_print, &p);
        if (r >= 0)
                r = sd_event_add_defer(p.event, &p.refresh, on_refresh, &p);
        if (r >= 0)
                r = sd_event_source_set_enabled(p.refresh, SD_EVENT_OFF);
        /* After all events that are there by now. */
        if (r >= 0)
                r = sd_event_source_set_priority(p.refresh, SD_EVENT_PRIORITY_IDLE);
        if (r < 0)
                die("sd-event: %s", strerror(-r));
        r = link_table_new(p.event, on_dirty, &p, &p.table);
        if (r < 0)
                die("link_table_new: %s", strerror(-r));
        p.listener = find_listener();
        if (buffer > 0 && setsockopt(p.listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)) < 0)
                die("SO_RCVBUF: %m");

        if (filters > 0) {
                r = rtnl_dump_filters(link_table_rtnl(p.table), filters, print_filter, NULL);
                if (r < 0)
                        die("rtnl_dump_filters: %s", strerror(-r));
        } else {
                refresh(&p);
                if (!once)
                        r = sd_event_loop(p.event);
        }
        link_table_free(p.table);
        sd_event_source_unref(p.refresh);
        sd_event_unref(p.event);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
