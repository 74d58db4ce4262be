/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * One-way stream of writes of one size.
 *
 *   stream --listen ADDR     receiver: one connection, verifies every byte, then exits
 *   stream --connect ADDR    sender
 *   stream [ADDR]            both: forks the receiver
 *
 * Without --stall the sender writes for --seconds: "stream size=N seconds=S bytes=B mbps=M" (10^6 bytes a second).
 *
 * With --stall the receiver reads nothing before SIGUSR1 (which a forked receiver gets by itself). The sender writes
 * until the kernel takes no more, reports what was taken and what it cost the kernel, and then all is read and verified:
 * "stall size=N accepted=B tcp_mem_kib=K kmalloc_1k_kib=K available_kib=K". The costs are differences to the moment
 * before the connection was made; they are of the whole machine, so noise of others is in them.
 */

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define SEED 0x6d657368637574ULL
/* Whoever takes this much with nobody reading has no bound. */
#define STALL_LIMIT (512ULL << 20)

typedef struct Cost {
        long tcp_kib, kmalloc_kib, available_kib;
} Cost;

static bool arg_stall = false, arg_blocking = false, arg_verify = true;
static size_t arg_size = 65536, arg_read_size = 262144;
static double arg_seconds = 2, arg_hold = 0;

static long file_number(const char *path, const char *format) {
        FILE *f = fopen(path, "re");
        char line[512];
        long value = 0;

        if (!f)
                return 0;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, format, &value) == 1)
                        break;
        fclose(f);
        return value;
}

/* All caches of 1 KiB objects together: a kernel may keep several, of random choice. */
static long slab_1k_kib(void) {
        FILE *f = fopen("/proc/slabinfo", "re");
        char line[512], name[64];
        long sum = 0, objects;

        if (!f)
                return 0;
        while (fgets(line, sizeof(line), f)) {
                size_t n;

                if (sscanf(line, "%63s %*d %ld", name, &objects) != 2)
                        continue;
                n = strlen(name);
                if (strncmp(name, "kmalloc-", 8) == 0 && n > 3 && strcmp(name + n - 3, "-1k") == 0)
                        sum += objects;
        }
        fclose(f);
        return sum;
}

static void cost_now(Cost *ret) {
        *ret = (Cost) {
                .tcp_kib = file_number("/proc/net/sockstat", "TCP: inuse %*d orphan %*d tw %*d alloc %*d mem %ld") * 4,
                .kmalloc_kib = slab_1k_kib(),
                .available_kib = file_number("/proc/meminfo", "MemAvailable: %ld"),
        };
}

static void wait_for(int fd, short events) {
        struct pollfd p = { .fd = fd, .events = events };
        int r;

        do
                r = poll(&p, 1, 10000);
        while (r < 0 && errno == EINTR);
        if (r == 0)
                die("stalled: no progress for 10 s");
        if (r < 0)
                die("poll: %m");
}

/* Reads to the end and answers with the number of bytes, so that the sender knows that all came. */
static void receive(int listener) {
        uint8_t *buf = malloc(arg_read_size);
        uint64_t pos = 0;
        sigset_t set;
        int fd, sig;

        wait_for(listener, POLLIN);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (arg_blocking ? 0 : SOCK_NONBLOCK));
        if (fd < 0)
                die("accept: %m");

        if (arg_stall) {
                sigemptyset(&set);
                sigaddset(&set, SIGUSR1);
                sigwait(&set, &sig);
        }

        for (;;) {
                ssize_t n;

                if (!arg_blocking)
                        wait_for(fd, POLLIN);
                n = recv(fd, buf, arg_read_size, 0);
                if (n == 0)
                        break;
                if (n < 0 && errno != EAGAIN)
                        die("recv at byte %llu: %m", (unsigned long long) pos);
                if (n < 0)
                        continue;
                if (arg_verify || arg_stall) {
                        ptrdiff_t at = pattern_check(buf, n, SEED, pos);

                        if (at >= 0)
                                die("wrong byte at position %llu", (unsigned long long) (pos + at));
                }
                pos += n;
        }
        if (send(fd, &pos, sizeof(pos), MSG_NOSIGNAL) != sizeof(pos))
                die("send of the count: %m");
        close(fd);
}

static uint64_t send_for(int fd, const uint8_t *buf, size_t period) {
        uint64_t end = now_ns() + (uint64_t) (arg_seconds * 1e9), pos = 0;

        for (unsigned i = 0;; i++) {
                ssize_t n;

                /* The clock is not looked at for every small write: it is not what is measured. */
                if ((i & 15) == 0 && now_ns() >= end)
                        return pos;
                n = send(fd, buf + pos % period, arg_size, MSG_NOSIGNAL);
                if (n > 0)
                        pos += n;
                else if (errno == EAGAIN)
                        wait_for(fd, POLLOUT);
                else
                        die("send at byte %llu: %m", (unsigned long long) pos);
        }
}

/* Writes until nothing is taken for half a second. */
static uint64_t send_until_stall(int fd, uint8_t *buf) {
        uint64_t pos = 0, last = now_ns();

        while (now_ns() - last < 500000000ULL) {
                ssize_t n;

                if (pos > STALL_LIMIT)
                        die("%llu bytes taken and nobody reads: no bound", (unsigned long long) pos);
                pattern_fill(buf, arg_size, SEED, pos);
                n = send(fd, buf, arg_size, MSG_NOSIGNAL);
                if (n > 0) {
                        pos += n;
                        last = now_ns();
                } else if (errno == EAGAIN)
                        sleep_us(2000);
                else
                        die("send at byte %llu: %m", (unsigned long long) pos);
        }
        return pos;
}

static void transmit(const Address *a, pid_t receiver) {
        size_t period = (8 << 20) / arg_size * arg_size;
        uint8_t *buf = malloc((period ?: arg_size) + arg_size);
        struct timeval half = { .tv_usec = 500000 };
        uint64_t pos, start, got = 0;
        Cost before, at;
        int fd;

        cost_now(&before);
        fd = socket_connect(a, !arg_blocking);
        /* A blocking sender must find out too that it is stuck. */
        if (arg_blocking)
                (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &half, sizeof(half));

        if (arg_stall) {
                pos = send_until_stall(fd, buf);
                cost_now(&at);
                printf("stall size=%zu accepted=%llu tcp_mem_kib=%ld kmalloc_1k_kib=%ld available_kib=%ld\n",
                       arg_size, (unsigned long long) pos, at.tcp_kib - before.tcp_kib,
                       at.kmalloc_kib - before.kmalloc_kib, before.available_kib - at.available_kib);
                fflush(stdout);
                sleep_us(arg_hold * 1e6);
                if (receiver > 0)
                        kill(receiver, SIGUSR1);
                start = now_ns();
        } else {
                if (period == 0)
                        die("--size must be at most 8 MiB");
                /* The buffer holds the stream's first bytes; without verification it is sent round and round. */
                pattern_fill(buf, period + arg_size, SEED, 0);
                start = now_ns();
                pos = send_for(fd, buf, period);
        }

        shutdown(fd, SHUT_WR);
        for (size_t done = 0; done < sizeof(got);) {
                ssize_t n;

                wait_for(fd, POLLIN);
                n = recv(fd, (uint8_t*) &got + done, sizeof(got) - done, 0);
                if (n == 0)
                        die("the receiver closed without an answer");
                if (n < 0 && errno != EAGAIN)
                        die("recv of the count: %m");
                if (n > 0)
                        done += n;
        }
        if (got != pos)
                die("%llu bytes sent, %llu received", (unsigned long long) pos, (unsigned long long) got);
        if (!arg_stall) {
                double s = (now_ns() - start) / 1e9;

                printf("stream size=%zu seconds=%.2f bytes=%llu mbps=%.1f\n", arg_size, s,
                       (unsigned long long) pos, pos / s / 1e6);
        }
        close(fd);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "listen",    required_argument, NULL, 'l' },
                { "connect",   required_argument, NULL, 'c' },
                { "size",      required_argument, NULL, 's' },
                { "read-size", required_argument, NULL, 'r' },
                { "seconds",   required_argument, NULL, 't' },
                { "cpu",       required_argument, NULL, 'p' },
                { "stall",     no_argument,       NULL, 'S' },
                { "hold",      required_argument, NULL, 'h' },
                { "blocking",  no_argument,       NULL, 'b' },
                {}
        };
        const char *listen_at = NULL, *connect_to = NULL;
        int c, cpus[2] = { -1, -1 }, status;
        sigset_t set;
        Address a;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l': listen_at = optarg; break;
                case 'c': connect_to = optarg; break;
                case 's': arg_size = atol(optarg); break;
                case 'r': arg_read_size = atol(optarg); break;
                case 't': arg_seconds = atof(optarg); break;
                case 'p': cpus_parse(optarg, cpus); break;
                case 'S': arg_stall = true; break;
                case 'h': arg_hold = atof(optarg); break;
                case 'b': arg_blocking = true; break;
                default: return EXIT_FAILURE;
                }
        if (arg_size == 0)
                die("--size must be positive");
        /* A benchmark of the stream must not be one of the pattern. */
        arg_verify = arg_stall;

        /* Blocked from the start, so that a signal that comes early is kept. */
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);

        if (listen_at) {
                address_parse(listen_at, &a);
                cpu_pin(cpus[1]);
                receive(socket_listen(&a, !arg_blocking));
                return EXIT_SUCCESS;
        }
        if (connect_to) {
                address_parse(connect_to, &a);
                cpu_pin(cpus[0]);
                transmit(&a, 0);
                return EXIT_SUCCESS;
        }

        address_parse(optind < argc ? argv[optind] : "127.0.0.1:0", &a);
        int listener = socket_listen(&a, !arg_blocking);
        address_of(listener, &a);

        pid_t parent = getpid(), child = fork();
        if (child < 0)
                die("fork: %m");
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_FAILURE);
                cpu_pin(cpus[1]);
                receive(listener);
                _exit(EXIT_SUCCESS);
        }
        close(listener);
        cpu_pin(cpus[0]);
        transmit(&a, child);
        if (waitpid(child, &status, 0) < 0 || status != 0)
                die("the receiver failed");
        return EXIT_SUCCESS;
}
