/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* An io_uring, by its bare system calls: Debian's liburing is a library more than this takes. */

#include <linux/io_uring.h>

#include "conformance.h"

typedef struct Ring {
        int fd;
        struct io_uring_params params;
        uint8_t *map;
        struct io_uring_sqe *entries;
        unsigned filled;
} Ring;

void ring_init(Ring *r);
void ring_submit(Ring *r, struct io_uring_sqe entry);
/* Waits for the next completion, which has to be of the operation with this user_data: its result. */
int ring_result(Ring *r, uint64_t of);
