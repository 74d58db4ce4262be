/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Request/response of fixed-size messages between two processes, both non-blocking with epoll, as proxies are; with
 * --blocking both blocking and without, as thread-per-connection servers are.
 *
 *   rr --listen ADDR        server: serves connections, one after the other, until killed
 *   rr --connect ADDR       client: measures
 *   rr [--unix|ADDR]        both: forks the server
 *
 * One line comes out: "rr mode=tcp size=64 seconds=2.00 count=N rate=R p50_us=X p90_us=X p99_us=X".
 */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

/* Enough for a minute at 150,000 a second; later samples are counted, not kept. */
#define SAMPLES_MAX 10000000U

static int epoll_for(int fd) {
        struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
        int ep = epoll_create1(EPOLL_CLOEXEC);

        if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
                die("epoll: %m");
        return ep;
}

/* A blocking reader has no epoll: it waits in recv(). */
static void wait_readable(int ep, int timeout_ms) {
        struct epoll_event e;
        int r;

        if (ep < 0)
                return;
        do
                r = epoll_wait(ep, &e, 1, timeout_ms);
        while (r < 0 && errno == EINTR);
        if (r == 0)
                die("stalled: nothing came for %g s", timeout_ms / 1e3);
        if (r < 0)
                die("epoll_wait: %m");
}

/* Returns false at the end of the stream. Only the client gives up, after ten seconds, or as many as
 * it measures if those are more: a server may have an idle peer. */
static bool message_read(int ep, int fd, char *buf, size_t size, int timeout_ms) {
        for (size_t done = 0; done < size;) {
                ssize_t n;

                wait_readable(ep, timeout_ms);
                n = recv(fd, buf + done, size - done, 0);
                if (n == 0 && done == 0)
                        return false;
                if (n == 0)
                        die("the stream ended inside a message");
                if (n < 0 && errno != EAGAIN)
                        die("recv: %m");
                if (n > 0)
                        done += n;
        }
        return true;
}

static void message_write(int fd, const char *buf, size_t size) {
        for (size_t done = 0; done < size;) {
                ssize_t n = send(fd, buf + done, size - done, MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN)
                        die("send: %m");
                if (n > 0)
                        done += n;
        }
}

static void serve(int listener, size_t size, bool blocking) {
        char *buf = calloc(1, size);
        int lep = epoll_for(listener);

        for (;;) {
                struct epoll_event e;
                int fd, ep;

                if (epoll_wait(lep, &e, 1, -1) < 0)
                        continue;
                fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK));
                if (fd < 0)
                        continue;
                ep = blocking ? -1 : epoll_for(fd);
                while (message_read(ep, fd, buf, size, -1))
                        message_write(fd, buf, size);
                if (ep >= 0)
                        close(ep);
                close(fd);
        }
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t*) a, y = *(const uint32_t*) b;

        return (x > y) - (x < y);
}

static void measure(const Address *a, const char *mode, size_t size, double seconds, bool blocking) {
        uint32_t *samples = malloc(SAMPLES_MAX * sizeof(uint32_t));
        char *out = malloc(size), *in = malloc(size);
        int fd = socket_connect(a, !blocking), ep = blocking ? -1 : epoll_for(fd);
        int stall_ms = (seconds > 10 ? seconds : 10) * 1000;
        uint64_t start, warm, end, last;
        size_t n = 0, count = 0;

        memset(out, 'x', size);
        start = last = now_ns();
        warm = start + (uint64_t) (seconds * 1e8);
        end = warm + (uint64_t) (seconds * 1e9);

        while (last < end) {
                uint64_t t;

                message_write(fd, out, size);
                if (!message_read(ep, fd, in, size, stall_ms))
                        die("the server closed the connection");
                t = now_ns();
                /* The first tenth is not measured: caches, and the counters of the service's heuristics. */
                if (last >= warm) {
                        count++;
                        if (n < SAMPLES_MAX)
                                samples[n++] = t - last;
                }
                last = t;
        }
        if (n == 0)
                die("no message in time");

        qsort(samples, n, sizeof(uint32_t), compare);
        printf("rr mode=%s size=%zu seconds=%.2f count=%zu rate=%.0f p50_us=%.2f p90_us=%.2f p99_us=%.2f\n",
               mode, size, seconds, count, count / ((last - warm) / 1e9),
               samples[n / 2] / 1e3, samples[n * 9 / 10] / 1e3, samples[n * 99 / 100] / 1e3);
        fflush(stdout);
        if (ep >= 0)
                close(ep);
        close(fd);
        free(samples);
        free(out);
        free(in);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "listen",  required_argument, NULL, 'l' },
                { "connect", required_argument, NULL, 'c' },
                { "unix",    no_argument,       NULL, 'u' },
                { "blocking", no_argument,      NULL, 'b' },
                { "size",    required_argument, NULL, 's' },
                { "seconds", required_argument, NULL, 't' },
                { "cpu",     required_argument, NULL, 'p' },
                {}
        };
        const char *listen_at = NULL, *connect_to = NULL, *both = "127.0.0.1:0";
        bool is_unix = false, blocking = false;
        double seconds = 2;
        size_t size = 64;
        int c, cpus[2] = { -1, -1 };
        Address a;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l': listen_at = optarg; break;
                case 'c': connect_to = optarg; break;
                case 'u': is_unix = true; break;
                case 'b': blocking = true; break;
                case 's': size = atol(optarg); break;
                case 't': seconds = atof(optarg); break;
                case 'p': cpus_parse(optarg, cpus); break;
                default: return EXIT_FAILURE;
                }
        if (optind < argc)
                both = argv[optind];
        if (size == 0)
                die("--size must be positive");

        if (listen_at) {
                cpu_pin(cpus[1]);
                address_parse(listen_at, &a);
                serve(socket_listen(&a, true), size, blocking);
        }
        if (connect_to) {
                cpu_pin(cpus[0]);
                address_parse(connect_to, &a);
                measure(&a, a.sa.ss_family == AF_UNIX ? "unix" : "tcp", size, seconds, blocking);
                return EXIT_SUCCESS;
        }

        if (is_unix)
                /* Without a name the kernel chooses an abstract one: no file to remove. */
                a = (Address) { .sa.ss_family = AF_UNIX, .len = sizeof(sa_family_t) };
        else
                address_parse(both, &a);

        int listener = socket_listen(&a, true);
        address_of(listener, &a);

        pid_t parent = getpid(), child = fork();
        if (child < 0)
                die("fork: %m");
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_FAILURE);
                cpu_pin(cpus[1]);
                serve(listener, size, blocking);
        }
        close(listener);
        cpu_pin(cpus[0]);
        measure(&a, is_unix ? "unix" : "tcp", size, seconds, blocking);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        return EXIT_SUCCESS;
}
