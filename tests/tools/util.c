/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

void die(const char *format, ...) {
        va_list ap;

        fprintf(stderr, "%s: ", program_invocation_short_name);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        exit(EXIT_FAILURE);
}

void address_parse(const char *s, Address *ret) {
        char host[64];
        const char *colon;
        size_t n;

        *ret = (Address) {};

        if (strncmp(s, "unix:", 5) == 0) {
                struct sockaddr_un *un = (struct sockaddr_un*) &ret->sa;

                if (strlen(s + 5) >= sizeof(un->sun_path))
                        die("path too long: %s", s);
                un->sun_family = AF_UNIX;
                strcpy(un->sun_path, s + 5);
                ret->len = sizeof(*un);
                return;
        }

        colon = strrchr(s, ':');
        if (!colon)
                die("no port in '%s'", s);

        n = colon - s;
        if (n >= 2 && s[0] == '[' && s[n - 1] == ']') {
                s++;
                n -= 2;
        }
        if (n >= sizeof(host))
                die("address too long: %s", s);
        memcpy(host, s, n);
        host[n] = 0;

        struct sockaddr_in *in = (struct sockaddr_in*) &ret->sa;
        struct sockaddr_in6 *in6 = (struct sockaddr_in6*) &ret->sa;

        if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
                in->sin_family = AF_INET;
                ret->len = sizeof(*in);
        } else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
                in6->sin6_family = AF_INET6;
                ret->len = sizeof(*in6);
        } else
                die("not an address: '%s'", host);

        address_set_port(ret, atoi(colon + 1));
}

void address_set_port(Address *a, unsigned port) {
        if (a->sa.ss_family == AF_INET)
                ((struct sockaddr_in*) &a->sa)->sin_port = htons(port);
        else if (a->sa.ss_family == AF_INET6)
                ((struct sockaddr_in6*) &a->sa)->sin6_port = htons(port);
}

void address_of(int fd, Address *ret) {
        *ret = (Address) { .len = sizeof(ret->sa) };
        if (getsockname(fd, (struct sockaddr*) &ret->sa, &ret->len) < 0)
                die("getsockname: %m");
}

static int socket_new(const Address *a, bool nonblock) {
        int fd, one = 1;

        fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), 0);
        if (fd < 0)
                die("socket: %m");
        if (a->sa.ss_family != AF_UNIX) {
                (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
                (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        }
        return fd;
}

int socket_listen(const Address *a, bool nonblock) {
        int fd = socket_new(a, nonblock);

        if (bind(fd, (const struct sockaddr*) &a->sa, a->len) < 0)
                die("bind: %m");
        if (listen(fd, 1024) < 0)
                die("listen: %m");
        return fd;
}

int socket_connect(const Address *a, bool nonblock) {
        uint64_t until = now_ns() + 3000000000ULL;

        for (;;) {
                int fd = socket_new(a, nonblock), error = 0;
                socklen_t len = sizeof(error);

                if (connect(fd, (const struct sockaddr*) &a->sa, a->len) < 0) {
                        error = errno;
                        if (error == EINPROGRESS) {
                                struct pollfd p = { .fd = fd, .events = POLLOUT };

                                if (poll(&p, 1, 10000) == 0)
                                        die("connect: no answer in 10 s");
                                if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
                                        die("SO_ERROR: %m");
                        }
                }
                if (error == 0)
                        return fd;
                close(fd);
                if ((error != ECONNREFUSED && error != ENOENT) || now_ns() > until)
                        die("connect: %s", strerror(error));
                sleep_us(10000);
        }
}

void socket_set_blocking(int fd, bool blocking) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0)
                die("fcntl: %m");
}

uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void sleep_us(uint64_t us) {
        struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

        while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
                ;
}

void cpus_parse(const char *s, int ret[static 2]) {
        const char *comma = strchr(s, ',');

        ret[0] = atoi(s);
        ret[1] = comma ? atoi(comma + 1) : ret[0];
}

void cpu_pin(int cpu) {
        cpu_set_t set;

        if (cpu < 0)
                return;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                die("cannot run on CPU %d: %m", cpu);
}

/* The finaliser of MurmurHash3, with a step of the golden ratio before it: distinct inputs, unrelated outputs. */
uint64_t mix64(uint64_t x) {
        x += 0x9e3779b97f4a7c15ULL;
        x ^= x >> 33;
        x *= 0xff51afd7ed558ccdULL;
        x ^= x >> 33;
        x *= 0xc4ceb9fe1a85ec53ULL;
        x ^= x >> 33;
        return x;
}

uint64_t random_next(uint64_t *state) {
        *state += 0x9e3779b97f4a7c15ULL;
        return mix64(*state);
}

static uint64_t pattern_word(uint64_t seed, uint64_t index) {
        return mix64(seed ^ (index * 0xd1342543de82ef95ULL));
}

void pattern_fill(uint8_t *buf, size_t len, uint64_t seed, uint64_t pos) {
        for (size_t i = 0; i < len;) {
                uint64_t word = pattern_word(seed, (pos + i) / 8);
                size_t skip = (pos + i) % 8, n = 8 - skip;

                if (n > len - i)
                        n = len - i;
                memcpy(buf + i, (uint8_t*) &word + skip, n);
                i += n;
        }
}

ptrdiff_t pattern_check(const uint8_t *buf, size_t len, uint64_t seed, uint64_t pos) {
        for (size_t i = 0; i < len;) {
                uint64_t word = pattern_word(seed, (pos + i) / 8);
                size_t skip = (pos + i) % 8, n = 8 - skip;

                if (n > len - i)
                        n = len - i;
                for (size_t k = 0; k < n; k++)
                        if (buf[i + k] != ((uint8_t*) &word)[skip + k])
                                return i + k;
                i += n;
        }
        return -1;
}

uint64_t checksum_add(uint64_t sum, const uint8_t *buf, size_t len) {
        for (size_t i = 0; i < len; i++)
                sum = (sum ^ buf[i]) * 0x100000001b3ULL + 1;
        return sum;
}
