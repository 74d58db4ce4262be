/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Every byte arrives, in order, exactly once: many connections at once, both directions at once, under all habits of
 * applications that we can think of.
 *
 *   integrity --listen ADDR --port2 P    server; ends when the client says so
 *   integrity --connect ADDR --port2 P   client; SIGUSR1 says that the time is up
 *   integrity [--family 6]               both: forks the server
 *
 * The server listens twice: PORT with O_NONBLOCK, port2 without, since the listener's flag is what the service can see
 * first. All that a connection does follows from a seed that its first 16 bytes carry, so each end knows every byte that
 * the other will send. At the end a control connection compares both ends' lengths and checksums.
 *
 * Exit status 1, and one line that says which connection, direction and byte, on a mismatch, a loss, a reset or when
 * nothing moves for ten seconds. Output: "integrity connections=N to_server=B to_client=B early_eagain=N". The last are
 * blocking recv() calls that came back empty-handed too soon, which plain TCP never does.
 */

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define MAGIC 0x6d63696e74656731ULL
#define MAGIC_END 0x6d63696e74656732ULL
#define STALL_NS 10000000000ULL
#define MESSAGE_MAX (1U << 20)

enum { TO_SERVER, TO_CLIENT, DIRECTION_MAX };
static const char *const direction_name[DIRECTION_MAX] = { "to server", "to client" };

typedef enum Ending {
        ENDING_SHUTDOWN,   /* each end shuts its direction when done, and reads on */
        ENDING_HALF_EARLY, /* one end sends next to nothing and half-closes; the other sends on */
        ENDING_CLOSE,      /* one end writes and closes, never reads; the other sends nothing */
} Ending;

/* What will happen on a connection. */
typedef struct Plan {
        uint64_t seed;
        uint64_t total[DIRECTION_MAX];
        Ending ending;
        unsigned closer;             /* ENDING_CLOSE: the direction of the end that closes */
        bool blocking[DIRECTION_MAX]; /* by the direction in which the end sends */
        unsigned slow[DIRECTION_MAX]; /* one read in this many is followed by a pause; 0: none */
        unsigned pause[DIRECTION_MAX];/* the same for writes */
        uint32_t largest[DIRECTION_MAX];
} Plan;

typedef struct Header {
        uint64_t magic, seed;
} Header;

typedef struct Totals {
        uint64_t connections, bytes[DIRECTION_MAX], sum[DIRECTION_MAX];
} Totals;

/* One end of one connection in one direction. */
typedef struct Flow {
        const Plan *plan;
        int fd;
        unsigned direction;
        uint64_t pos, rng, last;
        uint8_t *buf;
        size_t have, offset; /* of a message that is being sent */
        uint64_t sum;
        bool done;
} Flow;

static pthread_mutex_t totals_lock = PTHREAD_MUTEX_INITIALIZER;
static Totals totals;
static atomic_uint_fast64_t early_eagain, next_seed;
static atomic_uint running;
static atomic_uint_fast64_t end_at;
static Address address[2]; /* non-blocking, blocking */

static void fail(const Plan *p, unsigned direction, uint64_t pos, const char *what) {
        die("connection %#llx (%s), %s, byte %llu of %llu: %s", (unsigned long long) p->seed,
            p->ending == ENDING_CLOSE ? "write-then-close" : p->ending == ENDING_HALF_EARLY ? "half-close" : "both ways",
            direction_name[direction], (unsigned long long) pos, (unsigned long long) p->total[direction], what);
}

static void plan_make(uint64_t seed, Plan *ret) {
        uint64_t r = seed;
        unsigned kind = random_next(&r) % 10;

        *ret = (Plan) { .seed = seed };
        for (unsigned d = 0; d < DIRECTION_MAX; d++) {
                uint64_t x = random_next(&r);

                /* A few connections carry much, most little: so some live through many switches, and many begin and end in one. */
                ret->total[d] = random_next(&r) % (x % 8 == 0 ? 32U << 20 : x % 8 < 4 ? 2U << 20 : 64U << 10);
                ret->blocking[d] = (x >> 8) % 3 == 0;
                ret->slow[d] = (x >> 16) % 4 == 0 ? 32 : (x >> 16) % 4 == 1 ? 128 : 0;
                ret->pause[d] = (x >> 24) % 4 == 0 ? 16 : (x >> 24) % 4 == 1 ? 256 : 0;
                ret->largest[d] = 1U << ((x >> 32) % 21);
                /* Small writes only, but not by the million: that would be a benchmark. */
                if (ret->total[d] / ret->largest[d] > 3000)
                        ret->total[d] = ret->largest[d] * 3000ULL;
        }
        ret->closer = random_next(&r) % 2;
        if (kind >= 8) {
                ret->ending = ENDING_CLOSE;
                ret->total[!ret->closer] = 0;
        } else if (kind >= 6) {
                ret->ending = ENDING_HALF_EARLY;
                ret->total[ret->closer] %= 100;
        }
}

static void flow_init(Flow *f, const Plan *p, int fd, unsigned direction, bool sending) {
        *f = (Flow) {
                .plan = p, .fd = fd, .direction = direction, .last = now_ns(),
                .rng = mix64(p->seed + direction * 2 + sending),
                .buf = malloc(MESSAGE_MAX),
        };
        if (!f->buf)
                die("out of memory");
}

static uint64_t flow_seed(const Flow *f) {
        return f->plan->seed * 2 + f->direction;
}

/* Returns false when the kernel took nothing. */
static bool flow_send(Flow *f) {
        const Plan *p = f->plan;
        ssize_t n;

        if (f->have == 0) {
                uint64_t left = p->total[f->direction] - f->pos, x = random_next(&f->rng);
                /* Uniform in the logarithm: as many around 10 bytes as around 100,000. */
                uint64_t size = 1 + x % p->largest[f->direction];

                size >>= (x >> 32) % 12;
                f->have = size < 1 ? 1 : size;
                if (f->have > left)
                        f->have = left;
                f->offset = 0;
                if (f->have > 0)
                        pattern_fill(f->buf, f->have, flow_seed(f), f->pos);
        }
        if (f->have == 0) {
                /* All sent. The closing end does not read, and must not: that is the point. */
                if (p->ending != ENDING_CLOSE || p->closer != f->direction)
                        if (shutdown(f->fd, SHUT_WR) < 0)
                                fail(p, f->direction, f->pos, strerror(errno));
                f->done = true;
                return true;
        }

        n = send(f->fd, f->buf + f->offset, f->have, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
                if (now_ns() - f->last > STALL_NS)
                        fail(p, f->direction, f->pos, "sender stalled for 10 s");
                return false;
        }
        if (n <= 0)
                fail(p, f->direction, f->pos, n < 0 ? strerror(errno) : "send returned 0");
        f->sum = checksum_add(f->sum, f->buf + f->offset, n);
        f->pos += n;
        f->offset += n;
        f->have -= n;
        f->last = now_ns();
        if (f->have == 0 && p->pause[f->direction] && random_next(&f->rng) % p->pause[f->direction] == 0) {
                sleep_us(random_next(&f->rng) % 3000);
                f->last = now_ns();
        }
        return true;
}

static bool flow_receive(Flow *f) {
        const Plan *p = f->plan;
        uint64_t x = random_next(&f->rng), started = now_ns();
        size_t want = x % 4 == 0 ? 1 + (x >> 8) % 4096 : 1 + (x >> 8) % (256 << 10);
        ptrdiff_t at;
        ssize_t n;

        n = recv(f->fd, f->buf, want, 0);
        if (n < 0 && errno == EAGAIN) {
                if (now_ns() - f->last > STALL_NS)
                        fail(p, f->direction, f->pos, "receiver stalled for 10 s");
                if (p->blocking[!f->direction] && now_ns() - started < STALL_NS / 2)
                        atomic_fetch_add(&early_eagain, 1);
                return false;
        }
        if (n < 0)
                fail(p, f->direction, f->pos, strerror(errno));
        if (n == 0) {
                if (f->pos != p->total[f->direction])
                        fail(p, f->direction, f->pos, "the stream ended too soon");
                f->done = true;
                return true;
        }
        if (f->pos + n > p->total[f->direction])
                fail(p, f->direction, f->pos, "more bytes than were sent");
        at = pattern_check(f->buf, n, flow_seed(f), f->pos);
        if (at >= 0)
                fail(p, f->direction, f->pos + at, "wrong byte");
        f->sum = checksum_add(f->sum, f->buf, n);
        f->pos += n;
        f->last = now_ns();
        if (p->slow[f->direction] && random_next(&f->rng) % p->slow[f->direction] == 0) {
                sleep_us(random_next(&f->rng) % 5000);
                f->last = now_ns();
        }
        return true;
}

static void *flow_send_all(void *userdata) {
        Flow *f = userdata;

        while (!f->done)
                (void) flow_send(f);
        return NULL;
}

/* Both directions in one thread, as an event loop does it: edge by edge, each until the kernel has no more. */
static void exchange_nonblocking(Flow *out, Flow *in, bool reading) {
        while (!out->done || (reading && !in->done)) {
                struct pollfd p = {
                        .fd = out->fd,
                        .events = (out->done ? 0 : POLLOUT) | (reading && !in->done ? POLLIN : 0),
                };
                int r = poll(&p, 1, STALL_NS / 1000000);

                if (r < 0 && errno != EINTR)
                        die("poll: %m");
                if (r == 0 && reading && !in->done)
                        fail(in->plan, in->direction, in->pos, "receiver stalled for 10 s");
                if (r == 0)
                        fail(out->plan, out->direction, out->pos, "sender stalled for 10 s");
                if (reading && !in->done && (p.revents & (POLLIN | POLLHUP | POLLERR)))
                        for (unsigned i = 0; i < 16 && !in->done && flow_receive(in); i++)
                                ;
                if (!out->done && (p.revents & (POLLOUT | POLLHUP | POLLERR)))
                        for (unsigned i = 0; i < 16 && !out->done && flow_send(out); i++)
                                ;
                /* While one direction moves, the other may wait: each has a clock of its own only where it waits alone. */
                if (!out->done && !in->done)
                        out->last = in->last = out->last > in->last ? out->last : in->last;
        }
}

static void exchange(int fd, const Plan *p, unsigned direction) {
        bool reading = p->ending != ENDING_CLOSE || p->closer != direction;
        struct timeval timeout = { .tv_sec = STALL_NS / 1000000000ULL };
        Flow out, in;

        flow_init(&out, p, fd, direction, true);
        flow_init(&in, p, fd, !direction, false);
        socket_set_blocking(fd, p->blocking[direction]);

        if (p->blocking[direction]) {
                pthread_t writer;

                (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
                (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
                if (pthread_create(&writer, NULL, flow_send_all, &out) != 0)
                        die("cannot start a thread");
                while (reading && !in.done)
                        (void) flow_receive(&in);
                pthread_join(writer, NULL);
        } else
                exchange_nonblocking(&out, &in, reading);

        pthread_mutex_lock(&totals_lock);
        totals.connections++;
        totals.bytes[direction] += out.pos;
        totals.bytes[!direction] += in.pos;
        /* Sums of sums: connections end in any order. */
        totals.sum[direction] += out.sum;
        totals.sum[!direction] += in.sum;
        pthread_mutex_unlock(&totals_lock);
        free(out.buf);
        free(in.buf);
        close(fd);
}

static void *client_thread(void *userdata) {
        while (now_ns() < atomic_load(&end_at)) {
                Header h = { .magic = MAGIC, .seed = mix64(atomic_fetch_add(&next_seed, 1)) };
                Plan p;
                int fd;

                plan_make(h.seed, &p);
                /* The flag at connect() is mostly the one it will have, but some applications change it later. */
                fd = socket_connect(&address[h.seed % 3 == 0], p.blocking[TO_SERVER] == (h.seed % 7 != 0) ? false : true);
                if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
                        die("cannot send the header: %m");
                exchange(fd, &p, TO_SERVER);
        }
        return NULL;
}

static void read_exactly(int fd, void *buf, size_t size) {
        for (size_t done = 0; done < size;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                ssize_t n;

                if (poll(&p, 1, 3 * STALL_NS / 1000000) == 0)
                        die("stalled: %zu of %zu bytes of a header", done, size);
                n = recv(fd, (uint8_t*) buf + done, size - done, 0);
                if (n == 0)
                        die("the stream ended in a header");
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        die("header: %m");
                if (n > 0)
                        done += n;
        }
}

/* Waits for the other connections of this process, then tells the client what came and went. */
static void control(int fd) {
        while (atomic_load(&running) > 1)
                sleep_us(10000);
        if (send(fd, &totals, sizeof(totals), MSG_NOSIGNAL) != sizeof(totals))
                die("cannot send the totals: %m");
        close(fd);
        printf("integrity server connections=%llu to_server=%llu to_client=%llu early_eagain=%llu\n",
               (unsigned long long) totals.connections, (unsigned long long) totals.bytes[TO_SERVER],
               (unsigned long long) totals.bytes[TO_CLIENT], (unsigned long long) early_eagain);
        fflush(stdout);
        _exit(EXIT_SUCCESS);
}

static void *server_thread(void *userdata) {
        int fd = (int) (intptr_t) userdata;
        Header h;
        Plan p;

        read_exactly(fd, &h, sizeof(h));
        if (h.magic == MAGIC_END)
                control(fd);
        if (h.magic != MAGIC)
                die("wrong bytes in a header");
        plan_make(h.seed, &p);
        exchange(fd, &p, TO_CLIENT);
        atomic_fetch_sub(&running, 1);
        return NULL;
}

static void thread_start(pthread_t *ret, void *(*function)(void*), void *userdata) {
        pthread_attr_t attr;

        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 64 << 10);
        if (pthread_create(ret, &attr, function, userdata) != 0)
                die("cannot start a thread");
        pthread_attr_destroy(&attr);
}

static void serve(int listener[2]) {
        for (;;) {
                struct pollfd p[2] = {
                        { .fd = listener[0], .events = POLLIN },
                        { .fd = listener[1], .events = POLLIN },
                };

                (void) poll(p, 2, -1);
                for (unsigned i = 0; i < 2; i++) {
                        pthread_t t;
                        int fd;

                        if (!(p[i].revents & POLLIN))
                                continue;
                        fd = accept4(listener[i], NULL, NULL, SOCK_CLOEXEC | (i == 0 ? SOCK_NONBLOCK : 0));
                        if (fd < 0)
                                continue;
                        atomic_fetch_add(&running, 1);
                        thread_start(&t, server_thread, (void*) (intptr_t) fd);
                        pthread_detach(t);
                }
        }
}

static void on_time_up(int signal) {
        atomic_store(&end_at, 0);
}

static void client(unsigned connections, double seconds) {
        struct sigaction time_up = { .sa_handler = on_time_up, .sa_flags = SA_RESTART };
        pthread_t *threads = calloc(connections, sizeof(pthread_t));
        Header h = { .magic = MAGIC_END };
        Totals other;
        int fd;

        atomic_store(&end_at, now_ns() + (uint64_t) (seconds * 1e9));
        sigaction(SIGUSR1, &time_up, NULL);
        for (unsigned i = 0; i < connections; i++)
                thread_start(&threads[i], client_thread, NULL);
        for (unsigned i = 0; i < connections; i++)
                pthread_join(threads[i], NULL);
        free(threads);

        fd = socket_connect(&address[0], true);
        if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
                die("cannot send the end: %m");
        read_exactly(fd, &other, sizeof(other));
        close(fd);

        printf("integrity connections=%llu to_server=%llu to_client=%llu early_eagain=%llu\n",
               (unsigned long long) totals.connections, (unsigned long long) totals.bytes[TO_SERVER],
               (unsigned long long) totals.bytes[TO_CLIENT], (unsigned long long) early_eagain);
        fflush(stdout);
        if (other.connections != totals.connections)
                die("%llu connections here, %llu at the server", (unsigned long long) totals.connections,
                    (unsigned long long) other.connections);
        for (unsigned d = 0; d < DIRECTION_MAX; d++) {
                if (other.bytes[d] != totals.bytes[d])
                        die("%s: %llu bytes here, %llu at the server", direction_name[d],
                            (unsigned long long) totals.bytes[d], (unsigned long long) other.bytes[d]);
                if (other.sum[d] != totals.sum[d])
                        die("%s: the checksums differ", direction_name[d]);
        }
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "listen",      required_argument, NULL, 'l' },
                { "connect",     required_argument, NULL, 'c' },
                { "port2",       required_argument, NULL, '2' },
                { "connections", required_argument, NULL, 'n' },
                { "seconds",     required_argument, NULL, 't' },
                { "seed",        required_argument, NULL, 's' },
                { "family",      required_argument, NULL, 'f' },
                {}
        };
        const char *listen_at = NULL, *connect_to = NULL, *both = "127.0.0.1:0";
        unsigned connections = 64, port2 = 0;
        double seconds = 10;
        int c, status, listener[2];

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l': listen_at = optarg; break;
                case 'c': connect_to = optarg; break;
                case '2': port2 = atoi(optarg); break;
                case 'n': connections = atoi(optarg); break;
                case 't': seconds = atof(optarg); break;
                case 's': atomic_store(&next_seed, strtoull(optarg, NULL, 0) << 32); break;
                case 'f': both = atoi(optarg) == 6 ? "[::1]:0" : "127.0.0.1:0"; break;
                default: return EXIT_FAILURE;
                }
        if ((listen_at || connect_to) && port2 == 0)
                die("--port2 is needed");

        for (unsigned i = 0; i < 2; i++) {
                address_parse(listen_at ?: connect_to ?: both, &address[i]);
                if (i == 1)
                        address_set_port(&address[i], port2);
                if (!connect_to) {
                        listener[i] = socket_listen(&address[i], i == 0);
                        address_of(listener[i], &address[i]);
                }
        }
        if (listen_at)
                serve(listener);
        if (connect_to) {
                client(connections, seconds);
                return EXIT_SUCCESS;
        }

        pid_t parent = getpid(), child = fork();
        if (child < 0)
                die("fork: %m");
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_FAILURE);
                serve(listener);
        }
        close(listener[0]);
        close(listener[1]);
        client(connections, seconds);
        if (waitpid(child, &status, 0) < 0 || status != 0)
                die("the server failed");
        return EXIT_SUCCESS;
}
