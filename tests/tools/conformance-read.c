/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: what a reader gets. */

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conformance.h"

static void read_sizes(Pair *p) {
        sends(&p->client, 1, 0);
        sends(&p->client, 100, 0);
        sends(&p->client, 4000, 0);
        sends(&p->client, 20000, 0);
        receives(&p->server, 50, 0);
        receives(&p->server, 51, 0);
        receives(&p->server, 4001, 0);
        receives(&p->server, 1, 0);
        receives(&p->server, 65536, 0);
        receives(&p->server, 65536, 0);
        sends(&p->server, 300, 0);
        receives(&p->client, 0, 0);
        receives(&p->client, 300, 0);
        receives(&p->client, 300, 0);
}

/* Some bytes by TCP, some handed over: one queue, in order. */
static void read_mixed(Pair *p) {
        for (unsigned i = 0; i < 6; i++) {
                by_tcp(&p->server, i % 2);
                sends(&p->client, 1000 + i, 0);
        }
        receives(&p->server, 1500, 0);
        receives(&p->server, 1, 0);
        receives(&p->server, 3000, 0);
        receives(&p->server, 65536, 0);
        receives(&p->server, 65536, 0);
}

static void fionread(Pair *p) {
        unread(&p->server);
        sends(&p->client, 10, 0);
        unread(&p->server);
        sends(&p->client, 5000, 0);
        unread(&p->server);
        receives(&p->server, 4, 0);
        unread(&p->server);
        receives(&p->server, 3, MSG_PEEK);
        unread(&p->server);
        receives(&p->server, 65536, 0);
        unread(&p->server);
        sends(&p->client, 7, 0);
        shutdown(p->client.fd, SHUT_WR);
        await(&p->server, POLLRDHUP);
        unread(&p->server);
        receives(&p->server, 65536, 0);
        receives(&p->server, 65536, 0);
        unread(&p->server);
}

static void fionread_mixed(Pair *p) {
        for (unsigned i = 0; i < 6; i++) {
                by_tcp(&p->server, i % 2);
                sends(&p->client, 100 + i, 0);
                unread(&p->server);
        }
        receives(&p->server, 150, 0);
        unread(&p->server);
        receives(&p->server, 300, 0);
        unread(&p->server);
        receives(&p->server, 65536, 0);
        unread(&p->server);
}

static void peek(Pair *p) {
        sends(&p->client, 10, 0);
        sends(&p->client, 20, 0);
        receives(&p->server, 5, MSG_PEEK);
        receives(&p->server, 100, MSG_PEEK);
        receives(&p->server, 5, 0);
        receives(&p->server, 100, MSG_PEEK);
        ready(&p->server);
        receives(&p->server, 100, 0);
        receives(&p->server, 100, MSG_PEEK);
}

static void peek_mixed(Pair *p) {
        for (unsigned i = 0; i < 4; i++) {
                by_tcp(&p->server, i % 2);
                sends(&p->client, 1000 + i, 0);
        }
        receives(&p->server, 1500, MSG_PEEK);
        receives(&p->server, 1100, 0);
        receives(&p->server, 65536, MSG_PEEK);
        receives(&p->server, 65536, 0);
}

static void waitall_nonblocking(Pair *p) {
        sends(&p->client, 10, 0);
        receives(&p->server, 20, MSG_WAITALL);
        receives(&p->server, 20, MSG_WAITALL);
}

static void waitall(Pair *p) {
        Call c;

        sends(&p->client, 10, 0);
        call_start(&c, &p->server, 20, MSG_WAITALL);
        saw("recv(20, MSG_WAITALL) with 10 there %s", call_waits(&c) ? "waits" : "returns");
        sends(&p->client, 10, 0);
        saw("and has got %s", outcome(call_end(&c)));
        receives(&p->server, 20, 0);
}

/* MSG_TRUNC drops bytes without looking at the buffer, which may be none. */
static void trunc_read(Pair *p) {
        uint8_t buf[10];
        ssize_t n;

        sends(&p->client, 30, 0);
        memset(buf, 0, sizeof(buf));
        n = recv(p->server.fd, buf, sizeof(buf), MSG_TRUNC | MSG_DONTWAIT);
        if (n > 0)
                p->server.received += n;
        saw("recv(10, MSG_TRUNC): %s, buffer %s", outcome_of(n),
            memcmp(buf, (uint8_t[10]) {}, sizeof(buf)) == 0 ? "untouched" : "written");
        n = recv(p->server.fd, NULL, 10, MSG_TRUNC | MSG_DONTWAIT);
        if (n > 0)
                p->server.received += n;
        saw("recv(NULL, 10, MSG_TRUNC): %s", outcome_of(n));
        receives(&p->server, 100, 0);
}

static void rcvlowat(Pair *p) {
        int ten = 10;

        sends(&p->client, 10, 0);
        receives(&p->server, 10, 0);
        saw("SO_RCVLOWAT=10: %s", outcome_of(setsockopt(p->server.fd, SOL_SOCKET, SO_RCVLOWAT, &ten, sizeof(ten))));
        sends(&p->client, 5, 0);
        ready(&p->server);
        sends(&p->client, 5, 0);
        ready(&p->server);
        receives(&p->server, 100, 0);
}

static void rcvlowat_blocking(Pair *p) {
        int ten = 10;
        Call c;

        sends(&p->client, 10, 0);
        receives(&p->server, 10, 0);
        saw("SO_RCVLOWAT=10: %s", outcome_of(setsockopt(p->server.fd, SOL_SOCKET, SO_RCVLOWAT, &ten, sizeof(ten))));
        call_start(&c, &p->server, 100, 0);
        sends(&p->client, 5, 0);
        saw("with 5 there recv() %s", call_waits(&c) ? "waits" : "returns");
        sends(&p->client, 5, 0);
        saw("and has got %s", outcome(call_end(&c)));
        receives(&p->server, 100, 0);
}

static void scatter_read(Pair *p) {
        uint8_t buf[60];
        struct iovec iov[] = { { buf, 7 }, { buf + 7, 13 }, { buf + 20, 40 } };
        ssize_t n;

        sends(&p->client, 10, 0);
        sends(&p->client, 25, 0);
        n = readv(p->server.fd, iov, 3);
        if (n > 0)
                came(&p->server, buf, n);
        saw("readv() of 7, 13 and 40: %s", outcome_of(n));
        saw("and once more: %s", outcome_of(readv(p->server.fd, iov, 3)));
}

static void recv_mmsg(Pair *p) {
        uint8_t buf[3][10];
        struct iovec iov[3];
        struct mmsghdr messages[3] = {};
        int n;

        for (unsigned i = 0; i < 3; i++) {
                iov[i] = (struct iovec) { buf[i], sizeof(buf[i]) };
                messages[i].msg_hdr = (struct msghdr) { .msg_iov = &iov[i], .msg_iovlen = 1 };
        }
        sends(&p->client, 15, 0);
        sends(&p->client, 9, 0);
        n = recvmmsg(p->server.fd, messages, 3, MSG_DONTWAIT, NULL);
        saw("recvmmsg() of three times 10: %s", outcome_of(n));
        for (int i = 0; i < n; i++) {
                came(&p->server, buf[i], messages[i].msg_len);
                saw("%u", messages[i].msg_len);
        }
}

/* A page, and behind it one that cannot be touched. */
static uint8_t *two_pages(void) {
        uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (page == MAP_FAILED || mprotect(page + 4096, 4096, PROT_NONE) < 0)
                die("mmap: %m");
        return page;
}

/* What a call with a bad address leaves behind. */
static void bad_address_send(Pair *p) {
        uint8_t *page = two_pages();

        saw("send() from nowhere: %s", outcome_of(send(p->client.fd, page + 4096, 10, MSG_NOSIGNAL)));
        sends(&p->client, 30, 0);
        receives(&p->server, 100, 0);
        munmap(page, 8192);
}

static void bad_address_receive(Pair *p) {
        uint8_t *page = two_pages();
        struct iovec iov[] = { { page, 10 }, { page + 4096, 10 } };
        ssize_t n;

        sends(&p->client, 30, 0);
        saw("recv() into nowhere: %s", outcome_of(recv(p->server.fd, page + 4096, 10, MSG_DONTWAIT)));
        n = readv(p->server.fd, iov, 2);
        if (n > 0)
                came(&p->server, page, n);
        saw("readv() into 10 bytes and nowhere: %s", outcome_of(n));
        receives(&p->server, 100, 0);
        munmap(page, 8192);
}

static void oob(Pair *p) {
        uint8_t byte = '!', buf[100];
        struct pollfd before = { .fd = p->server.fd, .events = POLLIN | POLLPRI | POLLOUT };
        ssize_t n;

        sends(&p->client, 10, 0);
        n = send(p->client.fd, &byte, 1, MSG_OOB | MSG_NOSIGNAL);
        saw("send(1, MSG_OOB): %s", outcome_of(n));
        settle(&p->client);
        (void) poll(&before, 1, 0);
        n = recv(p->server.fd, buf, 1, MSG_OOB | MSG_DONTWAIT);
        saw("recv(MSG_OOB): %s%s", outcome_of(n), n == 1 && buf[0] == byte ? ", the urgent byte" : "");
        saw("before that server was ready for %s", events_name(before.revents));
        if (n == 1 && buf[0] != byte)
                came(&p->server, buf, 1);
        receives(&p->server, 10 - p->server.received, 0);
        n = recv(p->server.fd, buf, sizeof(buf), MSG_DONTWAIT);
        saw("in band: %s%s", outcome_of(n), n == 1 && buf[0] == byte ? ", the urgent byte" : "");
        /* Whichever way it took, the stream goes on. */
        sends(&p->client, 10, 0);
        receives(&p->server, 100, 0);
}

/* Receives at most n bytes: how many. ret gets the value of a control message of this kind, if there is one. */
static ssize_t take_with(End *e, size_t n, int level, int type, int *ret) {
        uint8_t buf[100];
        union {
                char buf[256];
                struct cmsghdr align;
        } control;
        struct iovec iov = { buf, n };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
        };
        ssize_t r = recvmsg(e->fd, &message, MSG_DONTWAIT);

        if (r < 0)
                return -errno;
        came(e, buf, r);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
                if (c->cmsg_level == level && c->cmsg_type == type)
                        memcpy(ret, CMSG_DATA(c), sizeof(*ret));
        return r;
}

/* The kernel begins to stamp packets a moment after the first socket asks for it. */
static void timestamp(Pair *p) {
        int one = 1, value = -1;

        saw("SO_TIMESTAMP: %s", outcome_of(setsockopt(p->server.fd, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof(one))));
        for (unsigned i = 0; i < 20 && value < 0; i++) {
                (void) put(&p->client, 10, 0);
                settle(&p->client);
                (void) take_with(&p->server, 10, SOL_SOCKET, SO_TIMESTAMP, &value);
                sleep_us(20000 * patience());
        }
        saw("with a timestamp: %s", value >= 0 ? "yes" : "no");
        receives(&p->server, 100, 0);
}

static void tcp_inq(Pair *p) {
        int one = 1, left = -1;

        saw("TCP_INQ: %s", outcome_of(setsockopt(p->server.fd, IPPROTO_TCP, TCP_INQ, &one, sizeof(one))));
        sends(&p->client, 30, 0);
        saw("server receives up to 10: %s", outcome(take_with(&p->server, 10, IPPROTO_TCP, TCP_CM_INQ, &left)));
        saw("what is left: %s", left >= 0 ? outcome(left) : "not told");
        receives(&p->server, 100, 0);
}

const Row rows_read[] = {
        { "read-sizes", read_sizes },
        { "read-mixed", read_mixed, ROW_MIXED },
        { "readv", scatter_read },
        { "recvmmsg", recv_mmsg },
        {
                "bad-address-send", bad_address_send, 0, EXPECT_EITHER, "send() from nowhere: 0",
                "`send()` from an address without memory returns 0 rather than `EFAULT`, and sends nothing (6.18, "
                "7.2): the kernel forgets the error",
        },
        {
                "bad-address-receive", bad_address_receive, 0, EXPECT_DIFFERS, "readv() into 10 bytes and nowhere: 10",
                "a `readv()` of which a part has no memory behind it returns what went before, where TCP fails with "
                "`EFAULT`: the kernel counts each piece that it copies",
        },
        { "fionread", fionread },
        { "fionread-mixed", fionread_mixed, ROW_MIXED },
        { "peek", peek },
        { "peek-mixed", peek_mixed, ROW_MIXED },
        { "waitall-nonblocking", waitall_nonblocking },
        {
                "waitall", waitall, ROW_BLOCKING | ROW_TCP, EXPECT_DIFFERS, "recv(20, MSG_WAITALL) with 10 there returns",
                "`recv(MSG_WAITALL)` returns with what is there: the kernel does not know the flag for such sockets. With "
                "the guard the connection goes back to TCP then, and the next ones stay there",
        },
        {
                "trunc", trunc_read, 0, EXPECT_DIFFERS, "recv(10, MSG_TRUNC): 10, buffer written",
                "`recv(MSG_TRUNC)` copies the bytes that it should only drop, and fails with `EFAULT` when there is "
                "no buffer: the kernel does not know the flag for such sockets",
        },
        { "rcvlowat", rcvlowat, ROW_TCP },
        { "rcvlowat-blocking", rcvlowat_blocking, ROW_BLOCKING | ROW_TCP },
        {
                "oob", oob, ROW_TCP, EXPECT_DIFFERS, "recv(MSG_OOB): 1",
                "urgent bytes (`MSG_OOB`) arrive in band, without `POLLPRI`: what is handed over has no urgent "
                "pointer, and `recv(MSG_OOB)` reads on. With the guard the connection goes back to TCP then, and the next "
                "ones stay there; a second one that is sent before that does raise `POLLPRI`, until the next read on TCP",
        },
        {
                "timestamp", timestamp, 0, EXPECT_DIFFERS, "with a timestamp: no",
                "no `SO_TIMESTAMP` message comes: only packets have a time of arrival",
        },
        {
                "tcp-inq", tcp_inq, 0, EXPECT_DIFFERS, "what is left: not told",
                "no `TCP_INQ` message comes: the kernel's reader for such sockets does not make one",
        },
        {}
};
