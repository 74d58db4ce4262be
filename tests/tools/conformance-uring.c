/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: sockets that an io_uring uses. */

#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conformance-uring.h"

static unsigned *ring_word(Ring *r, unsigned offset) {
        return (unsigned *) (r->map + offset);
}

void ring_init(Ring *r) {
        size_t size;

        *r = (Ring) {};
        r->fd = syscall(SYS_io_uring_setup, 8, &r->params);
        if (r->fd < 0)
                not_here("no io_uring: %s", outcome_of(-1));
        if (!(r->params.features & IORING_FEAT_SINGLE_MMAP))
                not_here("an io_uring of another kind");
        size = r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe);
        if (size < r->params.sq_off.array + r->params.sq_entries * sizeof(unsigned))
                size = r->params.sq_off.array + r->params.sq_entries * sizeof(unsigned);
        r->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
        r->entries = mmap(NULL, r->params.sq_entries * sizeof(*r->entries), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                          r->fd, IORING_OFF_SQES);
        if (r->map == MAP_FAILED || r->entries == MAP_FAILED)
                die("mmap of an io_uring: %m");
}

void ring_submit(Ring *r, struct io_uring_sqe entry) {
        unsigned mask = *ring_word(r, r->params.sq_off.ring_mask), *tail = ring_word(r, r->params.sq_off.tail);
        unsigned index = *tail & mask;

        r->entries[index] = entry;
        ring_word(r, r->params.sq_off.array)[index] = index;
        __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        if (syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) != 1)
                die("io_uring_enter: %m");
}

/* The next completion, if there is one now. */
static bool ring_has(Ring *r, struct io_uring_cqe *ret) {
        unsigned *head = ring_word(r, r->params.cq_off.head);
        struct io_uring_cqe *entries = (struct io_uring_cqe *) (r->map + r->params.cq_off.cqes);

        (void) syscall(SYS_io_uring_enter, r->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        if (*head == __atomic_load_n(ring_word(r, r->params.cq_off.tail), __ATOMIC_ACQUIRE))
                return false;
        *ret = entries[*head & *ring_word(r, r->params.cq_off.ring_mask)];
        __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
        return true;
}

int ring_result(Ring *r, uint64_t of) {
        uint64_t until = now_ns() + wait_ms() * 1000000ULL;
        struct io_uring_cqe completion;

        while (!ring_has(r, &completion)) {
                if (now_ns() > until)
                        wrong("an io_uring has nothing to tell");
                sleep_us(500);
        }
        if (completion.user_data != of)
                wrong("an io_uring completes another operation");
        return completion.res;
}

static void ring_sends(Ring *r, End *e, size_t n) {
        uint8_t *bytes = next_bytes(e, n);
        int result;

        ring_submit(r, (struct io_uring_sqe) {
                .opcode = IORING_OP_SEND, .fd = e->fd, .addr = (uintptr_t) bytes, .len = n, .user_data = 1,
        });
        result = ring_result(r, 1);
        saw("%s sends %zu by io_uring: %s", e->name, n, outcome(result));
        if (result > 0)
                e->sent += result;
        settle(e);
        free(bytes);
}

/* Readiness that the ring waits for, then calls that do not wait. */
static void uring(Pair *p) {
        uint8_t buf[100];
        Ring ring, watcher;
        int n;

        ring_init(&ring);
        ring_init(&watcher);
        for (unsigned i = 1; i <= 3; i++) {
                ring_submit(&watcher, (struct io_uring_sqe) {
                        .opcode = IORING_OP_POLL_ADD, .fd = p->server.fd, .poll32_events = POLLIN, .user_data = 2,
                });
                ring_sends(&ring, &p->client, 10 * i);
                n = ring_result(&watcher, 2);
                saw("server is ready for %s", n < 0 ? outcome(n) : events_name(n & POLLIN));
                ring_submit(&ring, (struct io_uring_sqe) {
                        .opcode = IORING_OP_RECV, .fd = p->server.fd, .addr = (uintptr_t) buf, .len = sizeof(buf), .user_data = 3,
                });
                n = ring_result(&ring, 3);
                saw("server receives by io_uring: %s", outcome(n));
                if (n > 0)
                        came(&p->server, buf, n);
        }
        ring_submit(&ring, (struct io_uring_sqe) {
                .opcode = IORING_OP_RECV, .fd = p->server.fd, .addr = (uintptr_t) buf, .len = sizeof(buf),
                .msg_flags = MSG_DONTWAIT, .user_data = 3,
        });
        saw("and once more: %s", outcome(ring_result(&ring, 3)));
}

/* A receive that the ring keeps until bytes come, as its users have it. */
static void uring_waits(Pair *p) {
        struct io_uring_cqe completion;
        uint8_t buf[100];
        Ring ring;
        int n;

        ring_init(&ring);
        for (unsigned all = 0; all < 2; all++) {
                ring_submit(&ring, (struct io_uring_sqe) {
                        .opcode = IORING_OP_RECV, .fd = p->server.fd, .addr = (uintptr_t) buf, .len = 20,
                        .msg_flags = all ? MSG_WAITALL : 0, .user_data = 3,
                });
                saw("a receive%s: %s", all ? " of all" : "", ring_has(&ring, &completion) ? outcome(completion.res) : "pending");
                sends(&p->client, 10, 0);
                if (all) {
                        saw("with half of it: %s", ring_has(&ring, &completion) ? outcome(completion.res) : "pending");
                        sends(&p->client, 10, 0);
                }
                n = ring_result(&ring, 3);
                saw("completes: %s", outcome(n));
                if (n > 0)
                        came(&p->server, buf, n);
        }
        receives(&p->server, 100, 0);
}

const Row rows_uring[] = {
        { "io-uring", uring },
        { "io-uring-waits", uring_waits, ROW_BLOCKING },
        {},
};
