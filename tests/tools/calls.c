/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What system calls take that the guard's programs look at, on files that have nothing to do with it.
 *
 *   calls [--times N]
 *
 * Output: "calls pread=NS write+read=NS send+recv=NS": of one byte of /dev/zero, and through a pair of AF_UNIX sockets. Of ten
 * batches of N calls the quickest.
 */

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define BATCHES 10

static int file, ends[2];
static char byte;

static bool by_pread(void) {
        return pread(file, &byte, 1, 0) == 1;
}

static bool by_read(void) {
        return write(ends[0], &byte, 1) == 1 && read(ends[1], &byte, 1) == 1;
}

static bool by_recv(void) {
        return send(ends[0], &byte, 1, 0) == 1 && recv(ends[1], &byte, 1, 0) == 1;
}

static double quickest(bool (*call)(void), unsigned times) {
        uint64_t least = UINT64_MAX, took;

        for (unsigned batch = 0; batch < BATCHES; batch++) {
                took = now_ns();
                for (unsigned i = 0; i < times; i++)
                        if (!call())
                                die("a call fails: %m");
                took = now_ns() - took;
                if (took < least)
                        least = took;
        }
        return (double) least / times;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = { { "times", required_argument, NULL, 'n' }, {} };
        unsigned times = 100000;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c != 'n')
                        return EXIT_FAILURE;
                times = atoi(optarg);
        }
        if (optind != argc || times == 0)
                die("no arguments but --times");
        file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        if (file < 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
                die("files: %m");
        printf("calls pread=%.1f write+read=%.1f send+recv=%.1f\n", quickest(by_pread, times), quickest(by_read, times),
               quickest(by_recv, times));
        return EXIT_SUCCESS;
}
