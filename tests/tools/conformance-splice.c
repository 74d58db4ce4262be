/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rows: the ways to splice from a socket. */

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conformance-uring.h"

/* Moves at most n bytes, without waiting: a count or a negative errno. */
typedef int (*splice_t)(int from, int into, unsigned n);

/* An application that splices from a socket and, where that is no use, reads. */
static void splice_by(Pair *p, splice_t call) {
        uint8_t buf[10000];
        int ends[2], n;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                die("pipe: %m");
        sends(&p->client, 10000, 0);
        ready(&p->server);
        n = call(p->server.fd, ends[1], sizeof(buf));
        saw("splice() from the socket: %s", outcome(n));
        if (n > 0) {
                if (read(ends[0], buf, n) != n)
                        wrong("the pipe holds fewer than %d bytes", n);
                came(&p->server, buf, n);
        }
        while (p->server.received < 10000) {
                n = take(&p->server, sizeof(buf), MSG_DONTWAIT);
                if (n <= 0)
                        wrong("of 10000 bytes %llu came, then %s", (unsigned long long) p->server.received, outcome(n));
        }
        saw("all of 10000 bytes");
        close(ends[0]);
        close(ends[1]);
}

static int splice_call(int from, int into, unsigned n) {
        ssize_t r = splice(from, NULL, into, NULL, n, SPLICE_F_NONBLOCK);

        return r < 0 ? -errno : r;
}

static void splice_from(Pair *p) {
        splice_by(p, splice_call);
}

/* What a 32-bit process calls. Nothing that is given is an address, so that a 64-bit one can do it as well. */
static int splice_call_32(int from, int into, unsigned n) {
#ifdef __x86_64__
        register long flags asm("r12") = SPLICE_F_NONBLOCK;
        long r = 313;

        /* The sixth argument is in the frame pointer. */
        asm volatile("xchg %%r12, %%rbp\n\tint $0x80\n\txchg %%r12, %%rbp"
                     : "+a"(r), "+r"(flags)
                     : "b"(from), "c"(0L), "d"(into), "S"(0L), "D"(n)
                     : "memory", "cc", "r8", "r9", "r10", "r11");
        return r;
#else
        return -ENOSYS;
#endif
}

static void splice_32(Pair *p) {
        if (access("/proc/sys/abi/vsyscall32", F_OK) < 0)
                not_here("no 32-bit system calls");
        splice_by(p, splice_call_32);
}

static int splice_call_uring(int from, int into, unsigned n) {
        Ring ring;

        ring_init(&ring);
        ring_submit(&ring, (struct io_uring_sqe) {
                .opcode = IORING_OP_SPLICE, .fd = into, .off = -1, .splice_fd_in = from, .splice_off_in = -1, .len = n,
                .splice_flags = SPLICE_F_NONBLOCK, .user_data = 1,
        });
        return ring_result(&ring, 1);
}

static void splice_uring(Pair *p) {
        splice_by(p, splice_call_uring);
}

static int sendfile_call(int from, int into, unsigned n) {
        ssize_t r = sendfile(into, from, NULL, n);

        return r < 0 ? -errno : r;
}

static void sendfile_to_pipe(Pair *p) {
        splice_by(p, sendfile_call);
}

const Row rows_splice[] = {
        {
                "splice-from", splice_from, 0, EXPECT_DIFFERS, "splice() from the socket: E",
                "`splice()` from the socket takes nothing, since it does not know the queue. With the guard it fails "
                "with `EINVAL`, and the next connections stay on TCP; without it (`AllowQuirks=splice`) with "
                "`EAGAIN`, though `poll()` says there is something: who splices on hangs",
        },
        {
                "splice-32-bit", splice_32, 0, EXPECT_DIFFERS, "splice() from the socket: E",
                "the same, called by a 32-bit process",
        },
        {
                "splice-io-uring", splice_uring, 0, EXPECT_DIFFERS, "splice() from the socket: E",
                "the same, called by an io_uring",
        },
        {
                "splice-sendfile", sendfile_to_pipe, 0, EXPECT_DIFFERS, "splice() from the socket: E",
                "`sendfile()` from the socket to a pipe likewise, which is a `splice()`",
        },
        {},
};
