/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: calls that wait, signals, and sockets that threads or processes use at the same time. */

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

/* ---- calls that wait ---- */

/* A reader that sleeps is woken by what comes, and by the end. */
static void blocking_recv(Pair *p) {
        Call c;

        for (unsigned i = 1; i <= 3; i++) {
                call_start(&c, &p->server, 100, 0);
                saw("recv() with nothing there %s", call_waits(&c) ? "waits" : "returns");
                sends(&p->client, i, 0);
                saw("and has got %s", outcome(call_end(&c)));
        }
        call_start(&c, &p->server, 100, 0);
        shutdown(p->client.fd, SHUT_WR);
        saw("and at the end %s", outcome(call_end(&c)));
}

static void *send_megabyte(void *userdata) {
        End *e = userdata;

        while (e->sent < 2 << 20) {
                ssize_t n = put(e, 50000, 0);

                if (n <= 0)
                        wrong("%s sends: %s", e->name, outcome(n));
        }
        shutdown(e->fd, SHUT_WR);
        return NULL;
}

/* A sender that has to wait for its receiver. recv() without MSG_DONTWAIT: what retries is not asked here. */
static void blocking_stream(Pair *p) {
        pthread_t thread;
        unsigned early = 0;

        if (pthread_create(&thread, NULL, send_megabyte, &p->client) != 0)
                die("cannot start a thread");
        for (;;) {
                ssize_t n = take(&p->server, 20000, 0);

                if (n == 0)
                        break;
                if (n == -EAGAIN)
                        early++;
                else if (n < 0)
                        wrong("server receives: %s", outcome(n));
                if (p->server.received % 7 == 0)
                        sleep_us(500);
        }
        pthread_join(thread, NULL);
        if (p->server.received != p->client.sent)
                wrong("%llu of %llu bytes came", (unsigned long long) p->server.received, (unsigned long long) p->client.sent);
        saw("all came, EAGAIN meanwhile: %s", early ? "yes" : "no");
}

/* A timeout counts ticks, and an emulated processor makes up for those it has missed: half of the time is enough. */
static void rcvtimeo(Pair *p) {
        uint64_t begun, timeout_us = 200000 * patience();
        struct timeval timeout = { .tv_sec = timeout_us / 1000000, .tv_usec = timeout_us % 1000000 };
        ssize_t n;

        setsockopt(p->server.fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        for (unsigned i = 0; i < 2; i++) {
                begun = now_ns();
                n = take(&p->server, 100, 0);
                saw("recv() with SO_RCVTIMEO: %s, %s", outcome(n), now_ns() - begun >= timeout_us * 500 ? "after it" : "too soon");
                sends(&p->client, 10, 0);
                saw("and with 10 there: %s", outcome(take(&p->server, 100, 0)));
        }
}

static void on_signal(int number) {}

/* A signal arrives while recv() waits; bytes come later. */
static void with_signal(Pair *p, int flags, bool timeout) {
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
        struct timeval wait = { .tv_sec = 3600 };
        ssize_t n;
        Call c;

        sigaction(SIGUSR1, &action, NULL);
        if (timeout)
                setsockopt(p->server.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        sends(&p->client, 5, 0);
        saw("recv() with 5 there: %s", outcome(take(&p->server, 100, 0)));
        call_start(&c, &p->server, 100, 0);
        pthread_kill(c.thread, SIGUSR1);
        saw("recv() when a signal came %s", call_waits(&c) ? "waits" : "returns");
        sends(&p->client, 10, 0);
        n = call_end(&c);
        saw("and has got %s", outcome(n));
        if (n < 0)
                saw("recv() once more: %s", outcome(take(&p->server, 100, 0)));
}

static void signal_restart(Pair *p) {
        with_signal(p, SA_RESTART, false);
}
static void signal_interrupt(Pair *p) {
        with_signal(p, 0, false);
}
static void signal_restart_timeout(Pair *p) {
        with_signal(p, SA_RESTART, true);
}

/* Two sleep; bytes for one. */
static void two_readers_blocking(Pair *p) {
        unsigned early = 0;
        Call c[2];

        call_start(&c[0], &p->server, 10, 0);
        call_start(&c[1], &p->server, 10, 0);
        sends(&p->client, 10, 0);
        saw("with 10 bytes for two that wait, %s", call_waits(&c[0]) || call_waits(&c[1]) ? "one waits on" : "both return");
        sends(&p->client, 10, 0);
        for (unsigned i = 0; i < 2; i++) {
                ssize_t n = call_end(&c[i]);

                if (n == -EAGAIN)
                        early++;
                else if (n != 10)
                        wrong("server receives: %s", outcome(n));
        }
        saw("EAGAIN for %u", early);
        receives(&p->server, 100, 0);
}

/* ---- threads ---- */

#define WRITERS 4
#define RECORDS 500
#define RECORD 120
#define UNREAD_MAX (16 << 10) /* a full buffer may tear a record by TCP, too */

typedef struct Record {
        uint32_t writer, number;
        uint8_t filling[RECORD - 8];
} Record;

typedef struct Writer {
        int fd;
        unsigned number;
        atomic_uint *records; /* written by all, less those read */
        pthread_t thread;
} Writer;

static void record_fill(Record *r, unsigned writer, unsigned number) {
        r->writer = writer;
        r->number = number;
        pattern_fill(r->filling, sizeof(r->filling), writer + 1000, number * sizeof(r->filling));
}

static void *write_records(void *userdata) {
        Writer *w = userdata;

        for (unsigned i = 0; i < RECORDS; i++) {
                struct pollfd p = { .fd = w->fd, .events = POLLOUT };
                Record r;
                ssize_t n;

                record_fill(&r, w->number, i);
                while (atomic_fetch_add(w->records, 1) >= UNREAD_MAX / RECORD) {
                        atomic_fetch_sub(w->records, 1);
                        sleep_us(100);
                }
                while ((n = send(w->fd, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 && errno == EAGAIN)
                        if (poll(&p, 1, wait_ms()) != 1)
                                wrong("a writer waits for POLLOUT in vain");
                if (n < 0)
                        wrong("a writer: %s", strerror(errno));
                if (n != sizeof(r))
                        wrong("a writer: %zd of a record", n);
        }
        return NULL;
}

/* Small writes of several threads are not torn, and each thread's stay in order. */
static void concurrent_writers(Pair *p) {
        unsigned next[WRITERS] = {}, whole = 0;
        atomic_uint records = 0;
        Writer writers[WRITERS];
        Record r, expected;
        size_t have = 0;

        for (unsigned i = 0; i < WRITERS; i++) {
                writers[i] = (Writer) { .fd = p->client.fd, .number = i, .records = &records };
                if (pthread_create(&writers[i].thread, NULL, write_records, &writers[i]) != 0)
                        die("cannot start a thread");
        }
        while (whole < WRITERS * RECORDS) {
                struct pollfd pollfd = { .fd = p->server.fd, .events = POLLIN };
                ssize_t n = recv(p->server.fd, (uint8_t *) &r + have, sizeof(r) - have, MSG_DONTWAIT);

                if (n < 0 && errno == EAGAIN) {
                        if (poll(&pollfd, 1, wait_ms()) != 1)
                                wrong("%u of %u records came", whole, WRITERS * RECORDS);
                        continue;
                }
                if (n <= 0)
                        wrong("server receives: %s", outcome_of(n));
                have += n;
                if (have < sizeof(r))
                        continue;
                if (r.writer >= WRITERS || r.number != next[r.writer])
                        wrong("record %u is torn, lost or out of order", whole);
                record_fill(&expected, r.writer, r.number);
                if (memcmp(&r, &expected, sizeof(r)) != 0)
                        wrong("record %u is torn", whole);
                next[r.writer]++;
                whole++;
                atomic_fetch_sub(&records, 1);
                have = 0;
                /* An answer now and then, so that it does not look like a stream. */
                if (whole % 8 == 0)
                        (void) send(p->server.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        for (unsigned i = 0; i < WRITERS; i++)
                pthread_join(writers[i].thread, NULL);
        saw("%u records of %u writers, whole and in order", whole, WRITERS);
}

typedef struct SharedReader {
        int fd;
        uint64_t bytes, count[256];
        pthread_t thread;
} SharedReader;

static void *read_shared(void *userdata) {
        SharedReader *r = userdata;
        uint8_t buf[1000];

        for (;;) {
                struct pollfd p = { .fd = r->fd, .events = POLLIN };
                ssize_t n = recv(r->fd, buf, sizeof(buf), MSG_DONTWAIT);

                if (n == 0)
                        return NULL;
                if (n < 0 && errno != EAGAIN)
                        wrong("a reader: %s", strerror(errno));
                if (n < 0 && poll(&p, 1, wait_ms()) != 1)
                        wrong("a reader waits for POLLIN in vain");
                for (ssize_t i = 0; i < n; i++)
                        r->count[buf[i]]++;
                if (n > 0)
                        r->bytes += n;
        }
}

/* Whichever thread gets them: each byte once. */
static void concurrent_readers(Pair *p) {
        enum { READERS = 3, TOTAL = 1 << 20 };
        SharedReader readers[READERS] = {};
        uint8_t *bytes = next_bytes(&p->client, TOTAL);
        uint64_t sum = 0, count[256] = {};

        for (unsigned i = 0; i < READERS; i++) {
                readers[i].fd = p->server.fd;
                if (pthread_create(&readers[i].thread, NULL, read_shared, &readers[i]) != 0)
                        die("cannot start a thread");
        }
        while (p->client.sent < TOTAL) {
                ssize_t n = put(&p->client, TOTAL - p->client.sent < 10000 ? TOTAL - p->client.sent : 10000, MSG_DONTWAIT);

                if (n == -EAGAIN)
                        await(&p->client, POLLOUT);
                else if (n < 0)
                        wrong("client sends: %s", outcome(n));
        }
        shutdown(p->client.fd, SHUT_WR);
        for (unsigned i = 0; i < TOTAL; i++)
                count[bytes[i]]++;
        for (unsigned i = 0; i < READERS; i++) {
                pthread_join(readers[i].thread, NULL);
                sum += readers[i].bytes;
                for (unsigned b = 0; b < 256; b++)
                        count[b] -= readers[i].count[b];
        }
        if (sum != TOTAL)
                wrong("%llu of %d bytes came", (unsigned long long) sum, TOTAL);
        for (unsigned b = 0; b < 256; b++)
                if (count[b] != 0)
                        wrong("the readers together have %lld bytes 0x%02x too few", (long long) count[b], b);
        saw("%d readers together got each byte once", READERS);
        free(bytes);
}

/* ---- processes ---- */

/* Runs it in a child that shares all sockets; what it has moved is what it returns. */
static ssize_t in_child(ssize_t (*function)(End *e), End *e) {
        pid_t child = fork();
        int status;

        if (child < 0)
                die("fork: %m");
        if (child == 0)
                _exit(function(e) & 0x7f);
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
                wrong("the child died");
        return WEXITSTATUS(status);
}

static ssize_t child_sends(End *e) {
        return put(e, 10, 0);
}
static ssize_t child_receives(End *e) {
        return take(e, 7, MSG_DONTWAIT);
}

static void fork_shared(Pair *p) {
        ssize_t n;

        sends(&p->client, 20, 0);
        receives(&p->server, 5, 0);
        n = in_child(child_sends, &p->client);
        p->client.sent += n;
        saw("the child sends %zd", n);
        settle(&p->client);
        sends(&p->client, 3, 0);
        n = in_child(child_receives, &p->server);
        p->server.received += n;
        saw("the child receives %zd", n);
        receives(&p->server, 100, 0);
        /* The child has closed its copies: that is no end. */
        receives(&p->server, 100, 0);
        close(p->client.fd);
        await(&p->server, POLLRDHUP);
        receives(&p->server, 100, 0);
}

/* Another process gets the server's end and answers; this one has it no more. */
static void scm_rights(Pair *p) {
        union {
                char buf[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = {};
        char byte = 0;
        struct iovec iov = { &byte, 1 };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c;
        int sockets[2];
        pid_t child;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                die("socketpair: %m");
        sends(&p->client, 10, 0);
        child = fork();
        if (child < 0)
                die("fork: %m");
        if (child == 0) {
                End *e = &p->server;

                close(p->client.fd);
                close(e->fd);
                if (recvmsg(sockets[1], &message, 0) != 1 || !(c = CMSG_FIRSTHDR(&message)))
                        wrong("no socket comes: %m");
                memcpy(&e->fd, CMSG_DATA(c), sizeof(e->fd));
                e->peer->sent = 1000; /* whatever the parent will have sent */
                for (;;) {
                        ssize_t n;

                        await(e, POLLIN);
                        n = take(e, 100, MSG_DONTWAIT);
                        if (n <= 0)
                                _exit(n == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
                        if (put(e, n, 0) != n)
                                _exit(EXIT_FAILURE);
                }
        }
        c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(c), &p->server.fd, sizeof(int));
        if (sendmsg(sockets[0], &message, 0) != 1)
                die("sendmsg: %m");
        close(p->server.fd);
        p->server.sent = 1000; /* whatever the child will send */
        for (unsigned i = 0; i < 3; i++) {
                await(&p->client, POLLIN);
                receives(&p->client, 100, 0);
                if (i < 2)
                        sends(&p->client, 20 + i, 0);
        }
        shutdown(p->client.fd, SHUT_WR);
        await(&p->client, POLLRDHUP);
        receives(&p->client, 100, 0);
        waitpid(child, NULL, 0);
}

const Row rows_share[] = {
        { "blocking-recv", blocking_recv, ROW_BLOCKING },
        { "blocking-stream", blocking_stream, ROW_BLOCKING | ROW_TCP },
        { "rcvtimeo", rcvtimeo, ROW_BLOCKING },
        {
                "signal-restart", signal_restart, ROW_BLOCKING, EXPECT_DIFFERS, "recv() when a signal came returns",
                "a blocking `recv()` that a signal with `SA_RESTART` interrupts fails with `EAGAIN`: the kernel "
                "waits once only",
        },
        {
                "signal-interrupt", signal_interrupt, ROW_BLOCKING, EXPECT_DIFFERS, "and has got EAGAIN",
                "the same without `SA_RESTART`, where TCP says `EINTR`",
        },
        {
                "signal-rcvtimeo", signal_restart_timeout, ROW_BLOCKING, EXPECT_DIFFERS, "and has got EAGAIN",
                "the same with `SO_RCVTIMEO`, before its time, where TCP says `EINTR`",
        },
        {
                "two-readers-blocking", two_readers_blocking, ROW_BLOCKING, EXPECT_DIFFERS,
                "with 10 bytes for two that wait, both return",
                "of several blocked readers of one socket all are woken, and those that find nothing fail with "
                "`EAGAIN`: the kernel waits once only",
        },
        { "concurrent-writers", concurrent_writers, ROW_TCP },
        { "concurrent-readers", concurrent_readers, ROW_TCP },
        { "fork-shared", fork_shared },
        { "scm-rights", scm_rights, ROW_TCP },
        {}
};
