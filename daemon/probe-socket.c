// SPDX-License-Identifier: GPL-2.0-or-later

/* A pair of our own sockets in a sockmap: what works, and what an application sees there. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include <bpf/bpf.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tls.h>

#include "probe-parts.h"
#include "probe.skel.h"

enum { HANDED_OVER = 100, BY_TCP = 10 };

struct Members {
        struct probe_bpf *programs;
        int receiver, sender;
};

int members_receiver(const Members *members) {
        return members->receiver;
}

int members_sender(const Members *members) {
        return members->sender;
}

void members_redirect(Members *members, bool on) {
        members->programs->bss->redirect = on;
}

int probe_make_pair(int *ret_receiver, int *ret_sender) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                            sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), receiver = -1;
        socklen_t size = sizeof(address);

        if (listener < 0 || sender < 0 || bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *) &address, &size) < 0 ||
            connect(sender, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        receiver = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (receiver < 0)
                return -errno;
        *ret_receiver = TAKE_FD(receiver);
        *ret_sender = TAKE_FD(sender);
        return 0;
}

static bool can_read(int fd) {
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };

        return poll(&pollfd, 1, PROBE_TIMEOUT_MSEC) > 0;
}

int members_pass(const Members *members, size_t n, int *ret_pending) {
        char buffer[256] = {};
        int pending;
        ssize_t got;

        if (send(members->sender, buffer, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t) n)
                return -EIO;
        if (!can_read(members->receiver))
                return -ETIMEDOUT;
        if (ioctl(members->receiver, SIOCINQ, &pending) < 0)
                return -errno;
        got = recv(members->receiver, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -errno;
        *ret_pending = pending;
        return got;
}

int members_splice(const Members *members, bool *ret_lost) {
        char buffer[HANDED_OVER] = {};
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        *ret_lost = false;
        if (send(members->sender, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(buffer) ||
            !can_read(members->receiver))
                r = -EIO;
        else {
                r = splice(members->receiver, NULL, fds[1], NULL, sizeof(buffer), SPLICE_F_NONBLOCK);
                if (r < 0) {
                        r = -errno;
                        *ret_lost = recv(members->receiver, buffer, sizeof(buffer), MSG_DONTWAIT) != sizeof(buffer);
                }
        }
        close(fds[0]);
        close(fds[1]);
        return r;
}

static void members_done(Members *members) {
        closep(&members->receiver);
        closep(&members->sender);
        probe_bpf__destroy(members->programs);
}

static int attach(const struct bpf_program *program, const struct bpf_map *map, enum bpf_attach_type type) {
        return bpf_prog_attach(bpf_program__fd(program), bpf_map__fd(map), type, 0);
}

static int add(const struct bpf_map *map, uint32_t key, int fd) {
        uint64_t value = fd;

        return bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_NOEXIST);
}

/* Puts the pair in the map. */
static int enrol(const Members *members) {
        const struct probe_bpf *p = members->programs;
        int r = attach(p->progs.probe_msg, p->maps.sockets, BPF_SK_MSG_VERDICT);

        if (r >= 0)
                r = attach(p->progs.probe_verdict, p->maps.sockets, BPF_SK_SKB_VERDICT);
        if (r >= 0)
                r = add(p->maps.sockets, 0, members->receiver);
        return r < 0 ? r : add(p->maps.sockets, 1, members->sender);
}

/* What FIONREAD says of bytes that came by TCP and wait in TCP's own queue while the socket is a member; negative: unknown. */
static int count_in_other_queue(const Members *members) {
        const struct probe_bpf *p = members->programs;
        Members pair = { NULL, -1, -1 };
        int pending = -1, r = probe_make_pair(&pair.receiver, &pair.sender);

        if (r >= 0)
                r = attach(p->progs.probe_msg, p->maps.two_queues, BPF_SK_MSG_VERDICT);
        if (r >= 0)
                r = add(p->maps.two_queues, 0, pair.receiver);
        if (r >= 0)
                r = members_pass(&pair, BY_TCP, &pending);
        members_done(&pair);
        return r == BY_TCP ? pending : -1;
}

/* The classes of kernels; the shortcut's receivers have one queue, so the second and third are as good. */
static int probe_fionread(Probes *probes, const Members *members, int by_redirect, int by_tcp) {
        bool passed = by_redirect == HANDED_OVER && by_tcp == BY_TCP;
        int other = count_in_other_queue(members);
        const char *class = "unknown";

        if (by_redirect == 0 && by_tcp == BY_TCP)
                class = "K1, misses what was handed over";
        else if (passed && other == 0)
                class = "K2, counts the sockmap's queue";
        else if (passed && other == BY_TCP)
                class = "K3, counts both queues";
        return probe_conclude(probes, PROBE_FIONREAD, passed,
                              "class %s: %d of %d redirected bytes, %d of %d by TCP, %d of %d in TCP's own queue", class,
                              by_redirect, HANDED_OVER, by_tcp, BY_TCP, other, BY_TCP);
}

static int64_t receive_memory(int fd) {
        uint32_t values[SK_MEMINFO_VARS] = {};
        socklen_t size = sizeof(values);

        return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size) < 0 ? -errno : (int64_t) values[SK_MEMINFO_RMEM_ALLOC];
}

/* The bound on what a receiver has not read rests on this. */
static int probe_accounting(Probes *probes, Members *members) {
        int64_t before = receive_memory(members->receiver), during, after;
        char buffer[HANDED_OVER] = {};

        members_redirect(members, true);
        if (before < 0 || send(members->sender, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(buffer) ||
            !can_read(members->receiver))
                return probe_cannot(probes, PROBE_ACCOUNTING, "the memory of received bytes is not known: %s",
                                    strerror(before < 0 ? (int) -before : errno));
        during = receive_memory(members->receiver);
        (void) recv(members->receiver, buffer, sizeof(buffer), MSG_DONTWAIT);
        after = receive_memory(members->receiver);
        return probe_conclude(probes, PROBE_ACCOUNTING, during >= before + HANDED_OVER && after <= before,
                              "%ld bytes are charged for %d that were handed over, %ld after they were read",
                              (long) (during - before), HANDED_OVER, (long) (after - before));
}

/* What splice() from a member does when nobody guards it. */
static int probe_splice(Probes *probes, Members *members) {
        bool lost;
        int r;

        members_redirect(members, true);
        r = members_splice(members, &lost);
        return probe_conclude(probes, PROBE_SPLICE, r > 0,
                              r > 0 ? "reads redirected bytes%.0s" : "does not see redirected bytes: %s",
                              r < 0 ? strerror(-r) : "end of file");
}

#define TICK_MSEC 4
#define TICKS_BEFORE_BYTE 4
#define TICKS_MAX 100

typedef struct Ticks {
        const Members *members;
        volatile sig_atomic_t n;
} Ticks;

/* Interrupts a receiver some times for nothing, and then ends its wait. */
static void on_tick(int signal, siginfo_t *info, void *context) {
        Ticks *ticks = info->si_value.sival_ptr;
        int saved = errno;

        ticks->n++;
        if (ticks->n == TICKS_BEFORE_BYTE)
                (void) send(ticks->members->sender, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (ticks->n > TICKS_MAX)
                (void) shutdown(ticks->members->receiver, SHUT_RD);
        errno = saved;
}

/* A blocking recv() on an empty queue, with signals whose handler restarts system calls. Returns what recv() did. */
static int receive_interrupted(const Members *members) {
        const struct itimerspec interval = { { 0, TICK_MSEC * 1000000 }, { 0, TICK_MSEC * 1000000 } };
        struct sigaction action = { .sa_sigaction = on_tick, .sa_flags = SA_RESTART | SA_SIGINFO }, before;
        Ticks ticks = { .members = members };
        struct sigevent event = {
                .sigev_notify = SIGEV_SIGNAL,
                .sigev_signo = SIGALRM,
                .sigev_value.sival_ptr = &ticks,
        };
        timer_t timer;
        char byte;
        int r;

        if (sigaction(SIGALRM, &action, &before) < 0)
                return -errno;
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
                r = -errno;
        else {
                r = timer_settime(timer, 0, &interval, NULL) < 0 ? -1 : (int) recv(members->receiver, &byte, 1, 0);
                if (r < 0)
                        r = -errno;
                (void) timer_delete(timer);
                if (ticks.n == 0 && r >= 0)
                        r = -EIO;
        }
        (void) sigaction(SIGALRM, &before, NULL);
        return r;
}

static int probe_blocking_receive(Probes *probes, Members *members) {
        int flags = fcntl(members->receiver, F_GETFL), r;

        if (flags < 0 || fcntl(members->receiver, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return probe_cannot(probes, PROBE_BLOCKING_RECEIVE, "fcntl: %s", strerror(errno));
        members_redirect(members, false);
        r = receive_interrupted(members);
        if (fcntl(members->receiver, F_SETFL, flags) < 0)
                return probe_cannot(probes, PROBE_BLOCKING_RECEIVE, "fcntl: %s", strerror(errno));
        if (r == 1)
                return probe_conclude(probes, PROBE_BLOCKING_RECEIVE, true, "goes on waiting after a signal");
        if (r == -EAGAIN)
                return probe_conclude(probes, PROBE_BLOCKING_RECEIVE, false,
                                      "a signal ends it with EAGAIN: blocking sockets stay on TCP");
        return probe_cannot(probes, PROBE_BLOCKING_RECEIVE, "it ended otherwise: %s",
                            r < 0 ? strerror(-r) : "end of file");
}

/* Is it there already? The kernel would load the module for us, which is not ours to ask for. */
static bool has_tls(void) {
        _cleanup_fclose_ FILE *f = fopen("/proc/sys/net/ipv4/tcp_available_ulp", "re");
        char name[32];

        while (f && fscanf(f, "%31s", name) == 1)
                if (streq(name, "tls"))
                        return true;
        return false;
}

/* The pair is of no more use after this. */
static int probe_ktls(Probes *probes, const Members *members) {
        const struct tls12_crypto_info_aes_gcm_128 keys = {
                .info = { .version = TLS_1_2_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128 },
        };

        if (!has_tls())
                return probe_cannot(probes, PROBE_KTLS, "not tried: TLS is not loaded in this kernel");
        if (setsockopt(members->receiver, SOL_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
                return probe_conclude(probes, PROBE_KTLS, false, "TCP_ULP on an enrolled socket: %s", strerror(errno));
        if (setsockopt(members->receiver, SOL_TLS, TLS_TX, &keys, sizeof(keys)) < 0)
                return probe_conclude(probes, PROBE_KTLS, false, "keys on an enrolled socket: %s", strerror(errno));
        return probe_conclude(probes, PROBE_KTLS, true, "keys can be set on an enrolled socket");
}

/* Handed over bytes first, then fewer by TCP. On kernels whose copied_seq counts what was handed over, the reader of the
 * second is not woken. Returns 1 when it makes sense to go on with the pair. */
static int probe_redirect(Probes *probes, Members *members) {
        int by_redirect = 0, by_tcp = 0, r, q;

        members_redirect(members, true);
        r = members_pass(members, HANDED_OVER, &by_redirect);
        q = probe_conclude(probes, PROBE_SOCKMAP, r == HANDED_OVER, r < 0 ? "redirect fails: %s" : "redirect works%.0s",
                           r < 0 ? strerror(-r) : "");
        if (q < 0 || r != HANDED_OVER)
                return q;

        members_redirect(members, false);
        r = members_pass(members, BY_TCP, &by_tcp);
        if (r != BY_TCP)
                return probe_conclude(probes, PROBE_TCP_AFTER_REDIRECT, false,
                                      "bytes by TCP after redirected ones do not arrive: %s",
                                      r < 0 ? strerror(-r) : "short read");
        q = probe_conclude(probes, PROBE_TCP_AFTER_REDIRECT, true, "bytes by TCP after redirected ones arrive");
        if (q >= 0)
                q = probe_fionread(probes, members, by_redirect, by_tcp);
        return q < 0 ? q : 1;
}

int probe_sockets(Probes *probes, const struct btf *kernel) {
        _cleanup_(members_done) Members members = { NULL, -1, -1 };
        int r = probe_make_pair(&members.receiver, &members.sender);

        if (r < 0)
                return probe_cannot(probes, PROBE_SOCKMAP, "no loopback connection: %s", strerror(-r));
        members.programs = probe_bpf__open_and_load();
        if (!members.programs)
                return probe_conclude(probes, PROBE_SOCKMAP, false, "programs do not load: %s", strerror(errno));
        r = enrol(&members);
        if (r < 0)
                return probe_conclude(probes, PROBE_SOCKMAP, false, "sockets do not enter a sockmap: %s", strerror(-r));
        r = probe_redirect(probes, &members);
        if (r <= 0)
                return r;
        r = probe_accounting(probes, &members);
        if (r >= 0)
                r = probe_splice(probes, &members);
        if (r >= 0)
                r = probe_guard(probes, kernel, &members);
        if (r >= 0)
                r = probe_blocking_receive(probes, &members);
        return r < 0 ? r : probe_ktls(probes, &members);
}
