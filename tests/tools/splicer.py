#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""A pair of non-blocking sockets on loopback, of which the receiver splices, and reads where it may not.

    splicer.py [--zerocopy]

Prints how splice() (or TCP_ZEROCOPY_RECEIVE) ended, "bytes" or the name of the error, and what FIONREAD said. Exit status
1 when the bytes that came are not those that were sent, or did not come within 10 s."""

import array
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import termios

SIZES = [1, 100, 4000, 70000]
TCP_ZEROCOPY_RECEIVE = 35


def splice(server):
    """What came through a pipe."""
    out, into = os.pipe2(os.O_NONBLOCK)
    try:
        n = os.splice(server.fileno(), into, 65536, flags=2)  # SPLICE_F_NONBLOCK
        return os.read(out, n)
    finally:
        os.close(out)
        os.close(into)


def zerocopy(server):
    server.getsockopt(socket.IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, struct.calcsize("QIIIi"))
    return b""


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
    select.select([listener], [], [], 10)
    server, _ = listener.accept()
    server.setblocking(False)

    call = zerocopy if "--zerocopy" in sys.argv else splice
    ended, wrong = set(), 0
    for number, size in enumerate(SIZES):
        sent = bytes((number * 7 + i) % 251 for i in range(size))
        came, queued = b"", 0
        while queued < size:
            select.select([], [client], [], 10)
            queued += client.send(sent[queued:])
        select.select([server], [], [], 10)
        unread = array.array("i", [0])
        fcntl.ioctl(server, termios.FIONREAD, unread)
        # A part may still be on its way by TCP, but there are never more bytes than were sent, and never none.
        if not 0 < unread[0] <= size:
            wrong += 1
            print(f"FIONREAD says {unread[0]} of {size} bytes", file=sys.stderr)
        try:
            came += call(server)
            ended.add("bytes")
        except OSError as e:
            ended.add(errno.errorcode[e.errno])
        while len(came) < size:
            if not select.select([server], [], [], 10)[0]:
                print(f"{len(came)} of {size} bytes came", file=sys.stderr)
                sys.exit(1)
            came += server.recv(65536)
        if came != sent:
            print(f"other bytes than were sent, of {size}", file=sys.stderr)
            sys.exit(1)
    print(*sorted(ended))
    sys.exit(1 if wrong else 0)


main()
