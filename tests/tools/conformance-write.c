/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: the ways to send, and what a sender can ask. */

#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conformance.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static void gather_write(Pair *p) {
        uint8_t *bytes = next_bytes(&p->client, 60);
        struct iovec iov[] = { { bytes, 10 }, { bytes + 10, 20 }, { bytes + 30, 0 }, { bytes + 30, 30 } };
        ssize_t n = writev(p->client.fd, iov, 4);

        if (n > 0)
                p->client.sent += n;
        saw("writev() of 10, 20, 0 and 30: %s", outcome_of(n));
        settle(&p->client);
        receives(&p->server, 45, 0);
        receives(&p->server, 100, 0);
        free(bytes);
}

static void send_mmsg(Pair *p) {
        uint8_t *bytes = next_bytes(&p->client, 60);
        struct iovec iov[] = { { bytes, 10 }, { bytes + 10, 20 }, { bytes + 30, 30 } };
        struct mmsghdr messages[3] = {};
        int n;

        for (unsigned i = 0; i < 3; i++)
                messages[i].msg_hdr = (struct msghdr) { .msg_iov = &iov[i], .msg_iovlen = 1 };
        n = sendmmsg(p->client.fd, messages, 3, MSG_NOSIGNAL);
        saw("sendmmsg() of 10, 20 and 30: %s", outcome_of(n));
        for (int i = 0; i < n; i++) {
                p->client.sent += messages[i].msg_len;
                saw("%u", messages[i].msg_len);
        }
        settle(&p->client);
        receives(&p->server, 100, 0);
        free(bytes);
}

/* A file in memory that holds the next n bytes of the client's stream. */
static int file_with(const End *e, size_t n) {
        uint8_t *bytes = next_bytes(e, n);
        int fd = memfd_create("conformance", MFD_CLOEXEC);

        if (fd < 0 || write(fd, bytes, n) != (ssize_t) n || lseek(fd, 0, SEEK_SET) < 0)
                die("memfd: %m");
        free(bytes);
        return fd;
}

static void send_file(Pair *p) {
        enum { TOTAL = 400000 };
        int file = file_with(&p->client, TOTAL);
        off_t at = 0;
        ssize_t n;

        n = sendfile(p->client.fd, file, &at, 10000);
        if (n > 0)
                p->client.sent += n;
        saw("sendfile() of 10000: %s", outcome_of(n));
        settle(&p->client);
        receives(&p->server, 20000, 0);
        while (p->server.received < TOTAL) {
                if (at < TOTAL) {
                        p->client.sent = TOTAL;
                        n = sendfile(p->client.fd, file, &at, TOTAL - at);
                        if (n < 0 && errno != EAGAIN)
                                wrong("sendfile(): %m");
                }
                n = take(&p->server, 16384, MSG_DONTWAIT);
                if (n == -EAGAIN)
                        await(&p->server, POLLIN);
                else if (n <= 0)
                        wrong("server receives: %s", outcome(n));
        }
        saw("all of %d bytes", TOTAL);
        close(file);
}

static void splice_to(Pair *p) {
        enum { TOTAL = 400000 };
        int file = file_with(&p->client, TOTAL), ends[2];
        ssize_t n, in_pipe = 0, out = 0;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                die("pipe: %m");
        p->client.sent = TOTAL;
        in_pipe = splice(file, NULL, ends[1], NULL, 5000, 0);
        out = splice(ends[0], NULL, p->client.fd, NULL, 5000, SPLICE_F_NONBLOCK);
        saw("splice() of 5000 to the socket: %s", outcome_of(out));
        if (out < 0)
                wrong("nothing to go on with");
        settle(&p->client);
        receives(&p->server, 20000, 0);
        for (in_pipe -= out; p->server.received < TOTAL;) {
                n = splice(file, NULL, ends[1], NULL, TOTAL, SPLICE_F_NONBLOCK);
                if (n > 0)
                        in_pipe += n;
                if (in_pipe > 0) {
                        n = splice(ends[0], NULL, p->client.fd, NULL, in_pipe, SPLICE_F_NONBLOCK);
                        if (n > 0)
                                in_pipe -= n;
                        else if (errno != EAGAIN)
                                wrong("splice() to the socket: %m");
                }
                n = take(&p->server, 16384, MSG_DONTWAIT);
                if (n == -EAGAIN)
                        await(&p->server, POLLIN);
                else if (n <= 0)
                        wrong("server receives: %s", outcome(n));
        }
        saw("all of %d bytes", TOTAL);
        close(file);
        close(ends[0]);
        close(ends[1]);
}

/* Which sends the kernel has done with the pages of, as an application waits for it that wants to use them again. */
static void zerocopy(Pair *p) {
        int one = 1;

        sends(&p->client, 100, 0);
        receives(&p->server, 100, 0);
        saw("SO_ZEROCOPY: %s", outcome_of(setsockopt(p->client.fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one))));
        for (unsigned i = 0; i < 2; i++) {
                union {
                        char buf[256];
                        struct cmsghdr align;
                } control;
                struct msghdr message = { .msg_control = &control, .msg_controllen = sizeof(control) };
                struct pollfd pollfd = { .fd = p->client.fd };
                unsigned from = 0, to = 0;
                bool told = false;

                /* Twice the same bytes would not be noticed: so the buffer may go when it is done with. */
                sends(&p->client, 20000, MSG_ZEROCOPY);
                receives(&p->server, 30000, 0);
                if (poll(&pollfd, 1, wait_ms()) == 1 && recvmsg(p->client.fd, &message, MSG_ERRQUEUE) >= 0)
                        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
                                struct sock_extended_err *e = (struct sock_extended_err *) CMSG_DATA(c);

                                if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR &&
                                    e->ee_origin == SO_EE_ORIGIN_ZEROCOPY) {
                                        told = true;
                                        from = e->ee_info;
                                        to = e->ee_data;
                                }
                        }
                if (told)
                        saw("done with %u to %u", from, to);
                else
                        saw("not told when it is done with");
        }
}

static bool tls_keys(const End *e, int direction, unsigned key) {
        struct tls12_crypto_info_aes_gcm_128 info = {
                .info = { .version = TLS_1_2_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128 },
        };
        long r;

        memset(info.key, key, sizeof(info.key));
        memset(info.salt, key + 1, sizeof(info.salt));
        r = setsockopt(e->fd, SOL_TLS, direction, &info, sizeof(info));
        saw("%s sets %s: %s", e->name, direction == TLS_TX ? "TLS_TX" : "TLS_RX", outcome_of(r));
        return r == 0;
}

/* As after a handshake of TLS: some bytes in the clear, then the kernel is given the keys. Where it refuses them the
 * application encrypts by itself, which here is to go on in the clear. */
static void ktls(Pair *p) {
        long r;

        sends(&p->client, 300, 0);
        receives(&p->server, 500, 0);
        sends(&p->server, 200, 0);
        receives(&p->client, 500, 0);
        r = setsockopt(p->client.fd, IPPROTO_TCP, TCP_ULP, "tls", 3);
        if (r < 0 && errno == ENOENT)
                not_here("no kTLS in this kernel");
        saw("client sets TCP_ULP: %s", outcome_of(r));
        if (r == 0) {
                r = setsockopt(p->server.fd, IPPROTO_TCP, TCP_ULP, "tls", 3);
                saw("server sets TCP_ULP: %s", outcome_of(r));
        }
        if (r == 0) {
                /* Asked of the sender first: where that is refused, the receiver has not been told to expect records. */
                if (tls_keys(&p->client, TLS_TX, 1))
                        (void) tls_keys(&p->server, TLS_RX, 1);
                if (tls_keys(&p->server, TLS_TX, 5))
                        (void) tls_keys(&p->client, TLS_RX, 5);
        }
        sends(&p->client, 5000, 0);
        await(&p->server, POLLIN);
        receives(&p->server, 10000, 0);
        sends(&p->server, 20000, 0);
        while (p->client.received < p->server.sent) {
                ssize_t n;

                await(&p->client, POLLIN);
                n = take(&p->client, 32768, MSG_DONTWAIT);
                if (n <= 0 && n != -EAGAIN)
                        wrong("client receives: %s", outcome(n));
        }
        saw("all came");
}

static void cork(Pair *p) {
        int on = 1, off = 0;

        setsockopt(p->client.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
        saw("corked, client sends 10: %s", outcome(put(&p->client, 10, 0)));
        ready(&p->server);
        saw("client sends 20: %s", outcome(put(&p->client, 20, 0)));
        setsockopt(p->client.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
        settle(&p->client);
        receives(&p->server, 100, 0);
}

static void more(Pair *p) {
        saw("client sends 10 with MSG_MORE: %s", outcome(put(&p->client, 10, MSG_MORE)));
        ready(&p->server);
        sends(&p->client, 20, 0);
        receives(&p->server, 100, 0);
}

static void nodelay(Pair *p) {
        int value = 0;
        socklen_t len = sizeof(value);

        setsockopt(p->client.fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value));
        sends(&p->client, 10, 0);
        sends(&p->client, 10, 0);
        receives(&p->server, 100, 0);
        value = 1;
        setsockopt(p->client.fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value));
        sends(&p->client, 10, 0);
        receives(&p->server, 100, 0);
        value = 0;
        saw("TCP_NODELAY is read: %s", outcome_of(getsockopt(p->client.fd, IPPROTO_TCP, TCP_NODELAY, &value, &len)));
        saw("and is %d", value);
}

static void outq(const End *e) {
        int n = -1, unsent = -1;

        (void) ioctl(e->fd, SIOCOUTQ, &n);
        (void) ioctl(e->fd, SIOCOUTQNSD, &unsent);
        saw("%s asks SIOCOUTQ: %s, SIOCOUTQNSD: %s", e->name, n > 0 ? "some" : outcome(n),
            unsent > 0 ? "some" : outcome(unsent));
}

/* Sends until the kernel takes no more, nor after all that was under way has been acknowledged. */
static void fill(End *e, size_t n) {
        unsigned refused = 0;
        ssize_t r;

        do {
                r = put(e, n, MSG_DONTWAIT);
                if (r == -EAGAIN) {
                        refused++;
                        sleep_us(50000);
                } else
                        refused = 0;
        } while (refused < 3 && (r > 0 || r == -EAGAIN) && e->sent < 64 << 20);
        saw("%s sends until %s", e->name, outcome(r));
}

static void drain(End *e) {
        while (e->received < e->peer->sent) {
                ssize_t n = take(e, 65536, MSG_DONTWAIT);

                if (n == -EAGAIN)
                        await(e, POLLIN);
                else if (n <= 0)
                        wrong("%s receives: %s, with %llu of %llu bytes received", e->name, outcome(n),
                              (unsigned long long) e->received, (unsigned long long) e->peer->sent);
        }
        saw("%s receives all", e->name);
}

static void siocoutq(Pair *p) {
        outq(&p->client);
        sends(&p->client, 1000, 0);
        outq(&p->client);
        fill(&p->client, 16384);
        outq(&p->client);
        drain(&p->server);
        settle(&p->client);
        outq(&p->client);
}

/* Says nothing of how much it took: that is the kernel's choice. */
static void write_space(Pair *p) {
        struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
        int epoll = epoll_create1(EPOLL_CLOEXEC);

        if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, p->client.fd, &event) < 0)
                die("epoll: %m");
        saw("epoll at first: %s", epoll_wait(epoll, &event, 1, 0) == 1 ? events_name(event.events) : "no event");
        for (unsigned i = 0; i < 3; i++) {
                fill(&p->client, 8192);
                /* What it told while that went on is old news; and it tells only who has been refused. */
                do
                        while (epoll_wait(epoll, &event, 1, 0) == 1)
                                ;
                while (put(&p->client, 8192, MSG_DONTWAIT) > 0);
                ready(&p->client);
                drain(&p->server);
                saw("epoll when all is read: %s",
                    epoll_wait(epoll, &event, 1, wait_ms()) == 1 ? events_name(event.events) : "no event");
        }
        close(epoll);
}

/* Who has half-closed and does not read for a while will read: its peer goes on to ask for room, and then sends all. */
static void half_close_full(Pair *p) {
        ssize_t n;

        sends(&p->client, 100, 0);
        shutdown(p->server.fd, SHUT_WR);
        await(&p->client, POLLRDHUP);
        fill(&p->client, 16384);
        /* Long enough for some window probes. */
        sleep_us(800000);
        n = put(&p->client, 16384, MSG_DONTWAIT);
        saw("client sends on: %s", n < 0 && n != -EAGAIN ? outcome(n) : "no error");
        drain(&p->server);
        receives(&p->client, 100, 0);
}

static void tcp_info(Pair *p) {
        struct tcp_info info = {};
        socklen_t len = sizeof(info);

        sends(&p->client, 1000, 0);
        receives(&p->server, 2000, 0);
        saw("client asks TCP_INFO: %s", outcome_of(getsockopt(p->client.fd, IPPROTO_TCP, TCP_INFO, &info, &len)));
        saw("state %u", info.tcpi_state);
        /* The SYN counts here. */
        saw("bytes acknowledged: %llu", (unsigned long long) info.tcpi_bytes_acked - 1);
        len = sizeof(info);
        saw("server asks TCP_INFO: %s", outcome_of(getsockopt(p->server.fd, IPPROTO_TCP, TCP_INFO, &info, &len)));
        saw("state %u", info.tcpi_state);
        saw("bytes received: %llu", (unsigned long long) info.tcpi_bytes_received);
}

static void big_stream(Pair *p) {
        stream(&p->client, 4 << 20, 100000, 65536);
        saw("4 MiB to the server");
        stream(&p->server, 4 << 20, 65536, 300000);
        saw("4 MiB to the client");
        stream(&p->client, 1 << 20, 16384, 1000);
        saw("1 MiB to the server, read by 1000");
}

/* So many small messages without an answer make the service put the connection back on TCP. */
static void small_stream(Pair *p) {
        for (unsigned i = 0; i < 20; i++)
                stream(&p->client, 20000, 200, 5000);
        sends(&p->server, 300, 0);
        receives(&p->client, 1000, 0);
        sends(&p->client, 300, 0);
        receives(&p->server, 1000, 0);
        receives(&p->server, 1000, 0);
}

const Row rows_write[] = {
        { "writev", gather_write },
        { "sendmmsg", send_mmsg },
        { "sendfile", send_file, ROW_TCP },
        { "splice-to", splice_to, ROW_TCP },
        { "zerocopy", zerocopy, ROW_TCP },
        {
                "ktls", ktls, ROW_TCP, EXPECT_EITHER, "client sets TLS_TX: EINVAL",
                "kernels with the fix for CVE-2026-93824 (6.1.189, 6.12.111, 7.2) refuse keys for kTLS (`TLS_TX`, "
                "`TLS_RX`) with `EINVAL`: the application encrypts by itself. On 6.12.95 kTLS works, by TCP",
        },
        { "nodelay", nodelay },
        {
                "cork", cork, 0, EXPECT_DIFFERS, "server is ready for IN OUT",
                "`TCP_CORK` does not hold back what is handed over: there is no packet to be filled",
        },
        {
                "msg-more", more, 0, EXPECT_DIFFERS, "server is ready for IN OUT",
                "`MSG_MORE` likewise",
        },
        { "siocoutq", siocoutq, ROW_TCP },
        { "write-space", write_space, ROW_MIXED },
        { "half-close-full", half_close_full, ROW_MIXED },
        {
                "tcp-info", tcp_info, 0, EXPECT_DIFFERS, "bytes acknowledged: 0",
                "`TCP_INFO` does not count what is handed over: `meshcutctl connections` does",
        },
        { "stream", big_stream, ROW_TCP },
        { "small-messages", small_stream, ROW_TCP },
        {}
};
