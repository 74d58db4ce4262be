/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What rows are made of: the transcript, connections with known bytes, and calls that wait. */

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conformance.h"

static int transcript = -1;
static Address pairs_address;
static bool pairs_blocking;
static atomic_uint_fast64_t next_seed = 1;

unsigned patience(void) {
        const char *slow = getenv("MESHCUT_SLOW");

        return slow && atoi(slow) > 0 ? atoi(slow) : 1;
}

unsigned wait_ms(void) {
        return 8000 * patience();
}

/* ---- what was seen ---- */

void transcript_to(int fd) {
        transcript = fd;
}

static void line(const char *mark, const char *format, va_list ap) {
        char text[512];
        size_t n = snprintf(text, sizeof(text), "%s", mark);

        n += vsnprintf(text + n, sizeof(text) - n - 1, format, ap);
        if (n > sizeof(text) - 2)
                n = sizeof(text) - 2;
        text[n++] = '\n';
        /* At once: a row that hangs later has still said this. */
        if (write(transcript, text, n) != (ssize_t) n)
                _exit(EXIT_FAILURE);
}

void saw(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        line("", format, ap);
        va_end(ap);
}

void wrong(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        line("! ", format, ap);
        va_end(ap);
        _exit(EXIT_SUCCESS);
}

void not_here(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        line("- ", format, ap);
        va_end(ap);
        _exit(EXIT_SUCCESS);
}

const char *outcome(ssize_t n) {
        static __thread char text[4][32];
        static __thread unsigned next;
        char *ret = text[next++ % 4];

        if (n < 0)
                snprintf(ret, sizeof(text[0]), "%s", strerrorname_np(-n) ?: "?");
        else
                snprintf(ret, sizeof(text[0]), "%zd", n);
        return ret;
}

const char *outcome_of(long r) {
        return outcome(r < 0 ? -errno : r);
}

const char *events_name(unsigned events) {
        static __thread char text[64];
        static const struct {
                unsigned event;
                const char *name;
        } names[] = {
                { POLLIN, "IN" }, { POLLPRI, "PRI" }, { POLLOUT, "OUT" },
                { POLLRDHUP, "RDHUP" }, { POLLHUP, "HUP" }, { POLLERR, "ERR" },
        };

        text[0] = 0;
        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (events & names[i].event)
                        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", text[0] ? " " : "",
                                 names[i].name);
        return text[0] ? text : "nothing";
}

/* ---- connections ---- */

void pairs_from(const Address *address, bool blocking) {
        pairs_address = *address;
        pairs_blocking = blocking;
}

int pair_begin(Pair *ret) {
        int listener = socket_listen(&pairs_address, !pairs_blocking);

        *ret = (Pair) {
                .client = { .fd = socket_connect(&pairs_address, !pairs_blocking), .name = "client", .peer = &ret->server },
                .server = { .fd = -1, .name = "server", .peer = &ret->client },
                .blocking = pairs_blocking,
        };
        ret->client.seed = mix64(atomic_fetch_add(&next_seed, 1));
        ret->server.seed = mix64(atomic_fetch_add(&next_seed, 1));
        return listener;
}

void pair_accept(Pair *p, int listener) {
        struct pollfd pollfd = { .fd = listener, .events = POLLIN };

        if (poll(&pollfd, 1, wait_ms()) != 1)
                die("nobody connects");
        p->server.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (p->blocking ? 0 : SOCK_NONBLOCK));
        if (p->server.fd < 0)
                die("accept: %m");
        close(listener);
}

void pair_make(Pair *ret) {
        int listener = pair_begin(ret);

        pair_accept(ret, listener);
}

void pair_close(Pair *p) {
        close(p->client.fd);
        close(p->server.fd);
}

uint8_t *next_bytes(const End *e, size_t n) {
        uint8_t *buf = malloc(n ?: 1);

        if (!buf)
                die("out of memory");
        pattern_fill(buf, n, e->seed, e->sent);
        return buf;
}

ssize_t put(End *e, size_t n, int flags) {
        uint8_t *buf = next_bytes(e, n);
        ssize_t r;

        /* Before: another thread may receive it before this one hears that it was sent. */
        e->sent += n;
        r = send(e->fd, buf, n, flags | MSG_NOSIGNAL);
        r = r < 0 ? -errno : r;
        e->sent -= n - (r > 0 ? r : 0);
        free(buf);
        return r;
}

void came(End *e, const void *buf, size_t n) {
        ptrdiff_t at;

        if (e->received + n > e->peer->sent)
                wrong("%s: %llu bytes more than were sent", e->name, (unsigned long long) (e->received + n - e->peer->sent));
        at = pattern_check(buf, n, e->peer->seed, e->received);
        if (at >= 0)
                wrong("%s: byte %llu is another than was sent", e->name, (unsigned long long) e->received + at);
        e->received += n;
}

ssize_t take(End *e, size_t n, int flags) {
        uint8_t *buf = malloc(n ?: 1);
        ssize_t r;

        if (!buf)
                die("out of memory");
        r = recv(e->fd, buf, n, flags);
        r = r < 0 ? -errno : r;
        if (r > 0) {
                came(e, buf, r);
                if (flags & MSG_PEEK)
                        e->received -= r;
        }
        free(buf);
        return r;
}

void settle(const End *e) {
        uint64_t until = now_ns() + wait_ms() * 1000000ULL;
        int queued;

        for (;;) {
                if (ioctl(e->fd, SIOCOUTQ, &queued) < 0)
                        die("SIOCOUTQ: %m");
                if (queued == 0)
                        return;
                if (now_ns() > until)
                        wrong("%s: %d bytes do not leave", e->name, queued);
                sleep_us(200);
        }
}

void await(const End *e, short events) {
        struct pollfd p = { .fd = e->fd, .events = events };
        int r;

        do
                r = poll(&p, 1, wait_ms());
        while (r < 0 && errno == EINTR);
        if (r != 1)
                wrong("%s waits for %s in vain, with %llu of %llu bytes received", e->name, events_name(events),
                      (unsigned long long) e->received, (unsigned long long) e->peer->sent);
}

void sends(End *e, size_t n, int flags) {
        ssize_t r = put(e, n, flags);

        saw("%s sends %zu: %s", e->name, n, outcome(r));
        settle(e);
}

void receives(End *e, size_t n, int flags) {
        saw("%s receives up to %zu: %s", e->name, n, outcome(take(e, n, flags | MSG_DONTWAIT)));
}

void ready(const End *e) {
        struct pollfd p = { .fd = e->fd, .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP };

        if (poll(&p, 1, 0) < 0)
                die("poll: %m");
        saw("%s is ready for %s", e->name, events_name(p.revents));
}

void unread(const End *e) {
        int n;

        saw("%s asks FIONREAD: %s", e->name, outcome_of(ioctl(e->fd, FIONREAD, &n) < 0 ? -1 : n));
}

void by_tcp(const End *e, bool on) {
        socket_set_blocking(e->fd, on);
}

void stream(End *from, uint64_t total, size_t message, size_t buffer) {
        End *to = from->peer;
        uint64_t end = to->received + total;
        ssize_t r;

        while (to->received < end) {
                bool moved = false;

                if (from->sent < end) {
                        r = put(from, end - from->sent < message ? end - from->sent : message, MSG_DONTWAIT);
                        if (r < 0 && r != -EAGAIN)
                                wrong("%s sends: %s", from->name, outcome(r));
                        moved = r > 0;
                }
                r = take(to, buffer, MSG_DONTWAIT);
                if (r == 0 || (r < 0 && r != -EAGAIN))
                        wrong("%s receives: %s, after %llu of %llu bytes", to->name, outcome(r),
                              (unsigned long long) to->received, (unsigned long long) end);
                if (r < 0 && !moved)
                        await(to, POLLIN);
        }
}

/* ---- a call that waits ---- */

static void *call_thread(void *userdata) {
        Call *c = userdata;

        c->tid = syscall(SYS_gettid);
        c->result = take(c->end, c->size, c->flags);
        c->done = true;
        return NULL;
}

static bool is_asleep(pid_t tid) {
        char path[64], state = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
        f = fopen(path, "re");
        if (!f)
                return false;
        if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
                state = 0;
        fclose(f);
        return state == 'S';
}

bool call_waits(const Call *c) {
        uint64_t until = now_ns() + wait_ms() * 1000000ULL;

        /* Twice, with a pause: the first sleep could be that of a lock on the way into recv(). */
        for (unsigned seen = 0; seen < 2; sleep_us(2000)) {
                if (c->done)
                        return false;
                seen = c->tid && is_asleep(c->tid) ? seen + 1 : 0;
                if (now_ns() > until)
                        wrong("%s: a call neither returns nor sleeps", c->end->name);
        }
        return true;
}

void call_start(Call *c, End *e, size_t n, int flags) {
        *c = (Call) { .end = e, .size = n, .flags = flags };
        if (pthread_create(&c->thread, NULL, call_thread, c) != 0)
                die("cannot start a thread");
        (void) call_waits(c);
}

ssize_t call_end(Call *c) {
        uint64_t until = now_ns() + wait_ms() * 1000000ULL;

        while (!c->done) {
                if (now_ns() > until)
                        wrong("%s: recv() still waits, with %llu of %llu bytes received", c->end->name,
                              (unsigned long long) c->end->received, (unsigned long long) c->end->peer->sent);
                sleep_us(500);
        }
        pthread_join(c->thread, NULL);
        return c->result;
}
