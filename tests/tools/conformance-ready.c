/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: how a reader learns that there is something. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conformance.h"

static void poll_level(Pair *p) {
        ready(&p->server);
        sends(&p->client, 10, 0);
        ready(&p->server);
        receives(&p->server, 4, 0);
        ready(&p->server);
        receives(&p->server, 100, 0);
        ready(&p->server);
        shutdown(p->client.fd, SHUT_WR);
        await(&p->server, POLLRDHUP);
        ready(&p->server);
        receives(&p->server, 100, 0);
        ready(&p->server);
        shutdown(p->server.fd, SHUT_WR);
        await(&p->client, POLLRDHUP);
        await(&p->server, POLLHUP);
        ready(&p->server);
        ready(&p->client);
}

/* What epoll has to tell right now, no more than three times. */
static void edges(int epoll, const char *when) {
        struct epoll_event event;

        for (unsigned i = 0; i < 3; i++) {
                int n = epoll_wait(epoll, &event, 1, 0);

                saw("%s: %s", when, n == 1 ? events_name(event.events) : n == 0 ? "no event" : outcome_of(n));
                if (n != 1)
                        return;
        }
}

static int epoll_on(const End *e, unsigned events) {
        struct epoll_event event = { .events = events };
        int epoll = epoll_create1(EPOLL_CLOEXEC);

        if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, e->fd, &event) < 0)
                die("epoll: %m");
        return epoll;
}

static void epoll_edge(Pair *p) {
        int epoll = epoll_on(&p->server, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);

        edges(epoll, "at first");
        sends(&p->client, 10, 0);
        edges(epoll, "after 10");
        sends(&p->client, 10, 0);
        edges(epoll, "after 10 more");
        receives(&p->server, 5, 0);
        edges(epoll, "after a short read");
        sends(&p->client, 1, 0);
        edges(epoll, "after 1 more");
        receives(&p->server, 100, 0);
        edges(epoll, "after all was read");
        receives(&p->server, 100, 0);
        sends(&p->client, 1, 0);
        edges(epoll, "after 1 more");
        shutdown(p->client.fd, SHUT_WR);
        await(&p->server, POLLRDHUP);
        edges(epoll, "after the end");
        close(epoll);
}

static void epoll_edge_mixed(Pair *p) {
        int epoll = epoll_on(&p->server, EPOLLIN | EPOLLET);

        for (unsigned i = 0; i < 6; i++) {
                by_tcp(&p->server, i % 2);
                sends(&p->client, 10, 0);
                edges(epoll, "after 10 more");
                if (i % 3 == 2)
                        receives(&p->server, 100, 0);
        }
        close(epoll);
}

static void epoll_level(Pair *p) {
        int epoll = epoll_on(&p->server, EPOLLIN | EPOLLRDHUP);
        struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };

        edges(epoll, "at first");
        sends(&p->client, 10, 0);
        edges(epoll, "after 10");
        receives(&p->server, 5, 0);
        edges(epoll, "after a short read");
        receives(&p->server, 100, 0);
        edges(epoll, "after all was read");
        if (epoll_ctl(epoll, EPOLL_CTL_MOD, p->server.fd, &event) < 0)
                die("epoll_ctl: %m");
        sends(&p->client, 10, 0);
        edges(epoll, "one shot");
        sends(&p->client, 10, 0);
        edges(epoll, "after the shot");
        close(epoll);
}

static atomic_uint signals;

static void on_signal(int number) {
        atomic_fetch_add(&signals, 1);
}

static void sigio(Pair *p) {
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

        sigaction(SIGIO, &action, NULL);
        if (fcntl(p->server.fd, F_SETOWN, getpid()) < 0 || fcntl(p->server.fd, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
                die("O_ASYNC: %m");
        atomic_store(&signals, 0);
        sends(&p->client, 10, 0);
        saw("SIGIO comes: %s", atomic_load(&signals) > 0 ? "yes" : "no");
        receives(&p->server, 100, 0);
        atomic_store(&signals, 0);
        shutdown(p->client.fd, SHUT_WR);
        await(&p->server, POLLRDHUP);
        saw("SIGIO comes at the end: %s", atomic_load(&signals) > 0 ? "yes" : "no");
}

/* ---- a reader that takes a short read for drained ---- */

typedef struct Reader {
        End *end;
        size_t size, message;
} Reader;

/* Reads on only when epoll says so again, as nginx does. Answers now and then, as a peer does whose connection is not put
 * back on TCP for being a stream. */
static void *edge_reader(void *userdata) {
        Reader *r = userdata;
        int epoll = epoll_on(r->end, EPOLLIN | EPOLLRDHUP | EPOLLET);
        uint64_t answered = r->end->received;
        bool ending = false;

        for (;;) {
                struct epoll_event event;
                ssize_t n;
                int left = -1;

                if (epoll_wait(epoll, &event, 1, wait_ms()) != 1) {
                        (void) ioctl(r->end->fd, FIONREAD, &left);
                        wrong("messages of %zu, read by %zu: no edge after byte %llu, FIONREAD says %d", r->message, r->size,
                              (unsigned long long) r->end->received, left);
                }
                if (event.events & EPOLLRDHUP)
                        ending = true;
                do {
                        n = take(r->end, r->size, MSG_DONTWAIT);
                        if (n == 0) {
                                close(epoll);
                                return NULL;
                        }
                        if (n < 0 && n != -EAGAIN)
                                wrong("messages of %zu, read by %zu: %s", r->message, r->size, outcome(n));
                } while (n == (ssize_t) r->size || (ending && n > 0));
                if (r->end->received - answered >= 8 * r->message) {
                        answered = r->end->received;
                        (void) put(r->end, 1, MSG_DONTWAIT);
                }
        }
}

/* All that is there or on its way, by one edge after another. With two queues a read of the one would be short, and the other
 * would bring no edge. */
static void edge_drain(Reader *r, int epoll) {
        struct epoll_event event;
        ssize_t n;

        while (r->end->received < r->end->peer->sent) {
                if (epoll_wait(epoll, &event, 1, wait_ms()) != 1)
                        wrong("messages of %zu, read by %zu: no edge, with %llu of %llu bytes received", r->message, r->size,
                              (unsigned long long) r->end->received, (unsigned long long) r->end->peer->sent);
                do {
                        n = take(r->end, r->size, MSG_DONTWAIT);
                        if (n == 0 || (n < 0 && n != -EAGAIN))
                                wrong("messages of %zu, read by %zu: %s", r->message, r->size, outcome(n));
                } while (n == (ssize_t) r->size);
        }
}

/* Bursts, each read only when it is over: by turns by shortcut and by TCP, beginning with either; then by shortcut until the
 * service's bound is reached, behind which bytes go by TCP. */
static void edge_bursts(Pair *p, Reader *r) {
        int epoll = epoll_on(r->end, EPOLLIN | EPOLLET);

        for (unsigned burst = 0; burst < 5; burst++) {
                unsigned messages = burst < 4 ? 8 : 64;

                for (unsigned i = 0; i < messages; i++) {
                        by_tcp(r->end, burst < 4 && (i + burst) % 2);
                        if (put(&p->client, r->message, MSG_DONTWAIT) < 0)
                                break;
                }
                edge_drain(r, epoll);
                (void) put(r->end, 1, MSG_DONTWAIT);
                while (take(&p->client, 100, MSG_DONTWAIT) > 0)
                        ;
        }
        close(epoll);
}

/* The same while both run at once. Every third message is made to go by TCP. */
static void edge_stream(Pair *p, Reader *r) {
        uint64_t total = 32 * r->message < 256 << 10 ? 32 * r->message : 256 << 10, end = p->client.sent + total;
        pthread_t thread;

        if (pthread_create(&thread, NULL, edge_reader, r) != 0)
                die("cannot start a thread");
        for (unsigned i = 0; p->client.sent < end; i++) {
                ssize_t n;

                by_tcp(r->end, i % 3 == 2);
                n = put(&p->client, end - p->client.sent < r->message ? end - p->client.sent : r->message, MSG_DONTWAIT);
                if (n == -EAGAIN)
                        await(&p->client, POLLOUT);
                else if (n < 0)
                        wrong("messages of %zu: %s", r->message, outcome(n));
                while (take(&p->client, 100, MSG_DONTWAIT) > 0)
                        ;
        }
        if (shutdown(p->client.fd, SHUT_WR) < 0)
                die("shutdown: %m");
        pthread_join(thread, NULL);
}

static void edge_spills(size_t message, size_t size) {
        Reader reader;
        Pair p;

        pair_make(&p);
        reader = (Reader) { .end = &p.server, .size = size, .message = message };
        edge_bursts(&p, &reader);
        edge_stream(&p, &reader);
        if (p.server.received != p.client.sent)
                wrong("messages of %zu, read by %zu: %llu of %llu bytes came", message, size,
                      (unsigned long long) p.server.received, (unsigned long long) p.client.sent);
        saw("messages of %zu, read by %zu: all bytes, and the end", message, size);
        pair_close(&p);
}

static void edge_short_reads(Pair *p) {
        static const size_t messages[] = { 1, 2, 3, 7, 64, 100, 1000, 1447, 4096, 8191, 8192, 16384, 16385, 32768, 65536, 100000 };

        for (unsigned i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
                const size_t m = messages[i], sizes[] = { m / 2 + 1, m, m + 1, 4 * m, 65537 };

                for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
                        edge_spills(m, sizes[k]);
        }
}

const Row rows_ready[] = {
        { "poll", poll_level },
        { "epoll-level", epoll_level },
        { "epoll-edge", epoll_edge },
        { "epoll-edge-mixed", epoll_edge_mixed, ROW_MIXED },
        { "edge-short-reads", edge_short_reads, ROW_MIXED | ROW_ALONE },
        { "sigio", sigio },
        {}
};
