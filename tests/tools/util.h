/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the traffic tools share: addresses, sockets, time, and a stream of bytes of which every one is known by its position. */

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/socket.h>

typedef struct Address {
        struct sockaddr_storage sa;
        socklen_t len;
} Address;

/* Prints "PROGRAM: message" and exits with 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* "127.0.0.1:80", "[::1]:80" or "unix:/path"; port 0 lets the kernel choose. */
void address_parse(const char *s, Address *ret);
void address_set_port(Address *a, unsigned port);
/* The address that a listener got. */
void address_of(int fd, Address *ret);

/* The non-blocking flag is set at creation: the service looks at it while the handshake runs. */
int socket_listen(const Address *a, bool nonblock);
/* Retries for three seconds while nobody listens yet. Returns a connected socket. */
int socket_connect(const Address *a, bool nonblock);
void socket_set_blocking(int fd, bool blocking);

uint64_t now_ns(void);
void sleep_us(uint64_t us);
/* "0" or "0,1": the CPU of the client and that of the server. -1 where none is named. */
void cpus_parse(const char *s, int ret[static 2]);
void cpu_pin(int cpu);

uint64_t mix64(uint64_t x);
/* A small generator; the state is the seed. */
uint64_t random_next(uint64_t *state);

/* Bytes [pos, pos + len) of the stream with this seed. */
void pattern_fill(uint8_t *buf, size_t len, uint64_t seed, uint64_t pos);
/* The offset of the first byte that differs, or -1. */
ptrdiff_t pattern_check(const uint8_t *buf, size_t len, uint64_t seed, uint64_t pos);
/* A checksum that can be continued over any division of the stream. Starts at 0. */
uint64_t checksum_add(uint64_t sum, const uint8_t *buf, size_t len);
