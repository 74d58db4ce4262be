/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: how connections begin and end. */

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conformance.h"

static void before_accept(Pair *ignored) {
        Pair p;
        int listener = pair_begin(&p);

        sends(&p.client, 10, 0);
        pair_accept(&p, listener);
        sends(&p.client, 20, 0);
        await(&p.server, POLLIN);
        receives(&p.server, 100, 0);
        receives(&p.server, 100, 0);
        sends(&p.client, 30, 0);
        receives(&p.server, 100, 0);
        pair_close(&p);
}

/* What is sent before accept() and closed: the server still gets all of it. */
static void closed_before_accept(Pair *ignored) {
        Pair p;
        int listener = pair_begin(&p);

        sends(&p.client, 10, 0);
        saw("close(): %s", outcome_of(close(p.client.fd)));
        pair_accept(&p, listener);
        await(&p.server, POLLRDHUP);
        receives(&p.server, 100, 0);
        receives(&p.server, 100, 0);
        close(p.server.fd);
        /* This one did not need the shortcut; the next does, so that it is known to be on. */
        pair_make(&p);
        sends(&p.client, 10, 0);
        saw("close(): %s", outcome_of(close(p.client.fd)));
        await(&p.server, POLLRDHUP);
        receives(&p.server, 100, 0);
        receives(&p.server, 100, 0);
        close(p.server.fd);
}

static void empty(Pair *p) {
        sends(&p->client, 0, 0);
        ready(&p->server);
        receives(&p->server, 100, 0);
        sends(&p->client, 5, 0);
        sends(&p->client, 0, 0);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
}

static void half_close(Pair *p) {
        sends(&p->client, 10, 0);
        saw("client half-closes: %s", outcome_of(shutdown(p->client.fd, SHUT_WR)));
        await(&p->server, POLLRDHUP);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
        sends(&p->server, 20, 0);
        sends(&p->server, 3000, 0);
        receives(&p->client, 5000, 0);
        saw("client sends on: %s", outcome(put(&p->client, 1, 0)));
        close(p->server.fd);
        await(&p->client, POLLRDHUP);
        receives(&p->client, 100, 0);
        ready(&p->client);
}

static void shutdown_read_first(Pair *p) {
        sends(&p->client, 10, 0);
        saw("server shuts reading: %s", outcome_of(shutdown(p->server.fd, SHUT_RD)));
        ready(&p->server);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
        sends(&p->client, 20, 0);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
        sends(&p->server, 30, 0);
        receives(&p->client, 100, 0);
        saw("server shuts writing: %s", outcome_of(shutdown(p->server.fd, SHUT_WR)));
        await(&p->client, POLLRDHUP);
        receives(&p->client, 100, 0);
        saw("server sends on: %s", outcome(put(&p->server, 1, 0)));
        ready(&p->client);
}

static void shutdown_write_first(Pair *p) {
        sends(&p->client, 10, 0);
        sends(&p->server, 10, 0);
        saw("server shuts writing: %s", outcome_of(shutdown(p->server.fd, SHUT_WR)));
        await(&p->client, POLLRDHUP);
        sends(&p->client, 20, 0);
        receives(&p->server, 15, 0);
        saw("server shuts reading: %s", outcome_of(shutdown(p->server.fd, SHUT_RD)));
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
        receives(&p->client, 100, 0);
        receives(&p->client, 100, 0);
        ready(&p->server);
        saw("client shuts both: %s", outcome_of(shutdown(p->client.fd, SHUT_RDWR)));
        await(&p->client, POLLHUP);
        ready(&p->client);
        receives(&p->client, 100, 0);
}

/* The peer closes, with or without bytes that it has not read. */
static void after_close(Pair *p) {
        close(p->server.fd);
        await(&p->client, POLLRDHUP);
        ready(&p->client);
        receives(&p->client, 100, 0);
        saw("client sends: %s", outcome(put(&p->client, 10, 0)));
        await(&p->client, POLLERR | POLLHUP);
        ready(&p->client);
        saw("client sends: %s", outcome(put(&p->client, 10, 0)));
        receives(&p->client, 100, 0);
}

static void close_unread(Pair *p) {
        sends(&p->server, 10, 0);
        sends(&p->client, 10, 0);
        receives(&p->client, 10, 0);
        after_close(p);
}

/* The same when so much is unread that the sender has to wait: it must not wait for ever. */
static void close_full(Pair *p) {
        int error = 0;
        socklen_t len = sizeof(error);
        ssize_t n;

        do
                n = put(&p->client, 16384, MSG_DONTWAIT);
        while (n > 0);
        saw("client sends until %s", outcome(n));
        close(p->server.fd);
        await(&p->client, POLLERR | POLLHUP);
        if (getsockopt(p->client.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
                die("SO_ERROR: %m");
        saw("and hears of the end by %s", outcome(-error));
        saw("client sends: %s", outcome(put(&p->client, 10, 0)));
        receives(&p->client, 100, 0);
}

static atomic_uint pipes;

static void on_sigpipe(int number) {
        atomic_fetch_add(&pipes, 1);
}

static void write_after_close(Pair *p) {
        signal(SIGPIPE, on_sigpipe);
        sends(&p->client, 10, 0);
        receives(&p->server, 10, 0);
        after_close(p);
        saw("write(): %s", outcome_of(write(p->client.fd, "x", 1)));
        saw("SIGPIPE: %u", atomic_load(&pipes));
}

/* What the sender aborts: the receiver gets the bytes that are there, then the error. */
static void abort_connection(Pair *p) {
        struct linger linger = { .l_onoff = 1 };

        sends(&p->client, 10, 0);
        receives(&p->server, 4, 0);
        if (setsockopt(p->client.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
                die("SO_LINGER: %m");
        close(p->client.fd);
        await(&p->server, POLLERR | POLLHUP);
        ready(&p->server);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, 0);
        saw("server sends: %s", outcome(put(&p->server, 10, 0)));
}

static void *closer(void *userdata) {
        Pair *p = userdata;
        uint64_t until = p->server.peer->sent + 200;
        ssize_t n;

        /* Reads a little, so that both are in the midst of it, and then closes with more on its way. */
        while (p->server.received < until) {
                n = take(&p->server, 100, MSG_DONTWAIT);
                if (n == -EAGAIN)
                        await(&p->server, POLLIN);
                else if (n < 0)
                        wrong("server receives: %s", outcome(n));
        }
        close(p->server.fd);
        return NULL;
}

/* A sender to a peer that closes at that moment may hear of it at once or a little later; but it does hear of it. */
static void closing_peer(Pair *ignored) {
        bool timed_out = false;

        for (unsigned i = 0; i < 40; i++) {
                uint64_t until;
                pthread_t thread;
                ssize_t n;
                Pair p;

                pair_make(&p);
                if (pthread_create(&thread, NULL, closer, &p) != 0)
                        die("cannot start a thread");
                for (until = now_ns() + wait_ms() * 1000000ULL;;) {
                        n = put(&p.client, 50, MSG_DONTWAIT);
                        if (n < 0 && n != -EAGAIN)
                                break;
                        if (now_ns() > until)
                                wrong("a sender never hears that its peer has closed: %s", outcome(n));
                }
                if (n == -ETIMEDOUT)
                        timed_out = true;
                else if (n != -EPIPE && n != -ECONNRESET)
                        wrong("sending to a closing peer: %s", outcome(n));
                pthread_join(thread, NULL);
                n = take(&p.client, 100, MSG_DONTWAIT);
                if (n > 0 || n == -EAGAIN)
                        wrong("receiving from a closed peer: %s", outcome(n));
                close(p.client.fd);
        }
        saw("EPIPE, ECONNRESET%s", timed_out ? ", ETIMEDOUT" : "");
}

const Row rows_close[] = {
        { "before-accept", before_accept, ROW_MIXED | ROW_ALONE },
        { "closed-before-accept", closed_before_accept, ROW_TCP | ROW_ALONE },
        { "empty-send", empty },
        { "half-close", half_close, ROW_TCP },
        { "shutdown-read-first", shutdown_read_first, ROW_TCP },
        { "shutdown-write-first", shutdown_write_first, ROW_TCP },
        {
                "close-unread", close_unread, ROW_TCP | ROW_LOSES, EXPECT_DIFFERS, "client is ready for IN OUT RDHUP",
                "`close()` with unread bytes ends the stream where TCP resets the connection: the kernel looks for "
                "unread bytes in TCP's queue only. The peer's first `send()` then succeeds, the second fails as by "
                "TCP",
        },
        {
                "close-full", close_full, ROW_TCP | ROW_LOSES, EXPECT_DIFFERS, "and hears of the end by ETIMEDOUT",
                "a sender that waits because nobody reads hears of its peer's `close()` within a second by "
                "`ETIMEDOUT`, by TCP at once by `ECONNRESET`: its window probes go unanswered once the peer is gone, "
                "and meshcut ends them",
        },
        { "write-after-close", write_after_close, ROW_TCP },
        { "abort", abort_connection, ROW_TCP },
        {
                "closing-peer", closing_peer, ROW_TCP | ROW_ALONE | ROW_LOSES, EXPECT_EITHER, "EPIPE, ECONNRESET, ETIMEDOUT",
                "`send()` to a peer that closes at that moment can fail with `ETIMEDOUT` rather than `EPIPE` or "
                "`ECONNRESET`, as above",
        },
        {}
};
