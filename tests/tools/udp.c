/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Request/response over UDP. Every byte of an answer is checked: the server sends back what it got, and each request has a
 * content of its own.
 *
 *   udp --listen ADDR       server, until killed
 *   udp --connect ADDR      client: measures
 *
 * One line comes out: "udp size=64 count=N lost=N rate=R p50_us=X". A request without an answer within 500 ms is lost, and
 * the next one is sent.
 */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define SAMPLES_MAX 10000000U
#define SIZE_MAX_UDP 65000

static void serve(const Address *a) {
        static char buf[65536];
        int fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (const struct sockaddr *) &a->sa, a->len) < 0)
                die("bind: %m");
        for (;;) {
                struct sockaddr_storage from;
                socklen_t size = sizeof(from);
                ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *) &from, &size);

                if (n >= 0)
                        (void) sendto(fd, buf, n, 0, (struct sockaddr *) &from, size);
        }
}

static void fill(unsigned char *buf, size_t size, uint64_t sequence) {
        uint64_t x = sequence * 0x9e3779b97f4a7c15ULL + 1;

        memcpy(buf, &sequence, sizeof(sequence));
        for (size_t i = sizeof(sequence); i < size; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                buf[i] = x;
        }
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

/* Answers to requests that were given up may still come. Returns false when none comes in time. */
static bool await(int fd, unsigned char *in, const unsigned char *out, size_t size) {
        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                ssize_t n = recv(fd, in, size + 1, MSG_DONTWAIT);

                if (n < 0 && (errno == EAGAIN || errno == ECONNREFUSED)) {
                        if (poll(&p, 1, 500) == 0)
                                return false;
                        continue;
                }
                if (n < 0)
                        die("recv: %m");
                if (n == (ssize_t) size && memcmp(in, out, size) == 0)
                        return true;
                if (n != (ssize_t) size || memcmp(in, out, sizeof(uint64_t)) >= 0)
                        die("an answer of %zd bytes is not what was sent", n);
        }
}

/* Returns whether anything came back. */
static bool measure(const Address *a, size_t size, double seconds) {
        uint32_t *samples = malloc(SAMPLES_MAX * sizeof(uint32_t));
        unsigned char *out = malloc(size), *in = malloc(size + 1);
        int fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        uint64_t start, now, sequence = 0;
        size_t n = 0, count = 0, lost = 0;

        if (fd < 0 || connect(fd, (const struct sockaddr *) &a->sa, a->len) < 0)
                die("connect: %m");
        start = now = now_ns();
        while (now < start + (uint64_t) (seconds * 1e9)) {
                uint64_t before = now;

                /* Big-endian, so that memcmp() tells an older one. */
                fill(out, size, __builtin_bswap64(++sequence));
                if (send(fd, out, size, 0) < 0 && errno != ECONNREFUSED)
                        die("send: %m");
                if (await(fd, in, out, size))
                        count++;
                else
                        lost++;
                now = now_ns();
                if (n < SAMPLES_MAX)
                        samples[n++] = now - before;
        }
        qsort(samples, n, sizeof(uint32_t), compare);
        printf("udp size=%zu count=%zu lost=%zu rate=%.0f p50_us=%.2f\n", size, count, lost,
               count / ((now - start) / 1e9), samples[n / 2] / 1e3);
        free(samples);
        free(out);
        free(in);
        return count > 0;
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "listen", required_argument, NULL, 'l' },  { "connect", required_argument, NULL, 'c' },
                { "seconds", required_argument, NULL, 's' }, { "size", required_argument, NULL, 'z' },
                {},
        };
        const char *listen_at = NULL, *connect_to = NULL;
        double seconds = 1;
        size_t size = 64;
        Address a;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l':
                        listen_at = optarg;
                        break;
                case 'c':
                        connect_to = optarg;
                        break;
                case 's':
                        seconds = atof(optarg);
                        break;
                case 'z':
                        size = strtoul(optarg, NULL, 10);
                        break;
                default:
                        return 2;
                }
        if (!!listen_at == !!connect_to || optind < argc || size < sizeof(uint64_t) || size > SIZE_MAX_UDP)
                die("usage: udp --listen ADDR | --connect ADDR [--seconds S] [--size BYTES]");
        address_parse(listen_at ?: connect_to, &a);
        if (listen_at)
                serve(&a);
        return measure(&a, size, seconds) ? 0 : 1;
}
