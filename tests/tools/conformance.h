/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the rows of the conformance suite are made of. A row is a function that does something with the two ends of a
 * connection, and says what an application saw of it, line by line, in words that do not depend on time, addresses or
 * anything else but the kernel's behaviour. conformance.c runs it by TCP and by shortcut, and compares.
 */

#include <stdatomic.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util.h"

/* One end of a connection. What it sends is a stream of which every byte is known, so every byte that comes is checked. */
typedef struct End {
        int fd;
        const char *name;
        struct End *peer;
        uint64_t seed;
        atomic_uint_fast64_t sent, received; /* bytes; what is being sent counts as sent */
} End;

typedef struct Pair {
        End client, server;
        bool blocking;
} Pair;

typedef enum Expect {
        EXPECT_SAME,
        EXPECT_DIFFERS,
        EXPECT_EITHER, /* it depends on the kernel, or on what the service can find out */
} Expect;

typedef enum RowFlags {
        ROW_BLOCKING = 1 << 0, /* blocking sockets: shortcut with AllowBlocking=yes only */
        ROW_TCP = 1 << 1,      /* some messages may go by TCP; without a flag all have to be handed over */
        ROW_MIXED = 1 << 2,    /* some have to, and some not */
        ROW_ALONE = 1 << 3,    /* makes the pairs that it needs by itself */
        ROW_LOSES = 1 << 4,    /* sends to who has closed: how much of that is lost depends on when the sender hears of it */
} RowFlags;

typedef struct Row {
        const char *name;
        void (*run)(Pair *p);
        unsigned flags; /* RowFlags */
        Expect expect;
        const char *instead; /* how the first line that differs begins, as it is by shortcut */
        const char *cause;   /* what differs and why, for README.md */
} Row;

/* Ended by a row without a name. */
extern const Row rows_read[], rows_ready[], rows_write[], rows_splice[], rows_close[], rows_share[], rows_uring[];

/* ---- what was seen ---- */

void transcript_to(int fd);
void saw(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the row: no application may ever see that. */
void wrong(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Ends the row: this kernel has no such thing. */
void not_here(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* A count, or the name of the error: of what a system call returned, or of what put() and take() do. Good until the
 * next but three. */
const char *outcome(ssize_t n);
const char *outcome_of(long r);
const char *events_name(unsigned events);

/* ---- connections ---- */

/* Where pairs come from: the address of the rule to be used, with a free port if it is 0. */
void pairs_from(const Address *address, bool blocking);
void pair_make(Pair *ret);
/* The same in two steps, for what happens before accept(). */
int pair_begin(Pair *ret);
void pair_accept(Pair *p, int listener);
void pair_close(Pair *p);

/* Sends the next n bytes, receives and checks at most n: a count or a negative errno. MSG_NOSIGNAL and, unless the pair
 * is a blocking one, MSG_DONTWAIT are understood. */
ssize_t put(End *e, size_t n, int flags);
ssize_t take(End *e, size_t n, int flags);
/* Checks what came some other way. */
void came(End *e, const void *buf, size_t n);
/* The next n bytes of an end's stream. Freed by the caller. */
uint8_t *next_bytes(const End *e, size_t n);

/* Waits until all that was sent has arrived. Not a matter of time: the kernel knows. */
void settle(const End *e);
/* Waits for any of these events. It is wrong if there are none for seconds. */
void await(const End *e, short events);
/* The same, and then says what there was. */
void sends(End *e, size_t n, int flags);
void receives(End *e, size_t n, int flags);
void ready(const End *e);
void unread(const End *e);

/* While this is on, the service has no reason to hand over to this end: it looks like a blocking socket. */
void by_tcp(const End *e, bool on);

/* Moves this much in messages of a size, sending and receiving in turn. */
void stream(End *from, uint64_t total, size_t message, size_t buffer);

/* How much more patience everything needs here: MESHCUT_SLOW. And what is enough for all that comes at all. */
unsigned patience(void);
unsigned wait_ms(void);

/* ---- a call that waits ---- */

typedef struct Call {
        End *end;
        size_t size;
        int flags;
        ssize_t result;
        pthread_t thread;
        atomic_int tid;
        atomic_bool done;
} Call;

/* Returns when recv() sleeps or has returned. */
void call_start(Call *c, End *e, size_t n, int flags);
bool call_waits(const Call *c);
ssize_t call_end(Call *c);
