#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""A connection on loopback of which two calls have a flag that enrolled sockets do not know.

    flags.py waitall     the server blocks, and receives 20 bytes that come as two times 10, by MSG_WAITALL
    flags.py oob         the client sends an urgent byte by MSG_OOB; no end blocks

Some messages are exchanged before and after each. Prints what each of the two calls did: "whole" or "short"; "urgent" (the server
gets the byte by MSG_OOB), "announced" (poll() tells of it, and it comes in band) or "in-band". Exit status 1 when bytes are
not those that were sent, or do not come within 10 s, or when poll() still tells of urgent ones that have been taken."""

import select
import socket
import sys
import threading
import time

SECONDS = 10


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def readable(sock):
    return select.select([sock], [], [], SECONDS)[0]


def exchange(one, other, times):
    """Each direction in turn, so that the connection is no stream."""
    for number in range(times):
        for sender, receiver in ((one, other), (other, one)):
            sent = bytes((number * 31 + i) % 251 for i in range(100))
            came = b""
            sender.sendall(sent)
            while len(came) < len(sent):
                if not readable(receiver):
                    fail(f"{len(came)} bytes came of {len(sent)}")
                came += receiver.recv(len(sent) - len(came))
            if came != sent:
                fail("other bytes than were sent")


def waitall(client, server):
    server.setblocking(True)
    threading.Timer(0.3, client.sendall, [b"0123456789"]).start()
    client.sendall(b"abcdefghij")
    came = server.recv(20, socket.MSG_WAITALL)
    said = "whole" if len(came) == 20 else "short"
    while len(came) < 20 and readable(server):
        came += server.recv(20 - len(came))
    if came != b"abcdefghij0123456789":
        fail(f"other bytes than were sent: {came}")
    return said


def oob(client, server):
    poll = select.poll()
    poll.register(server, select.POLLPRI)
    client.send(b"ab")
    client.send(b"!", socket.MSG_OOB)
    announced = bool(poll.poll(1000))
    came, urgent = b"", b""
    if announced:
        try:
            urgent = server.recv(1, socket.MSG_OOB)
        except OSError:
            pass
    # Without urgent data to fetch the flag is ignored there, and reads on.
    if urgent != b"!":
        came, urgent = urgent, b""
    while len(came + urgent) < 3:
        if not readable(server):
            fail(f"only {came + urgent} comes")
        came += server.recv(3)
    if came + urgent != b"ab!":
        fail(f"other bytes than were sent: {came + urgent}")
    if poll.poll(0):
        fail("poll() tells of urgent bytes that were taken")
    return "urgent" if urgent else "announced" if announced else "in-band"


def main():
    what = sys.argv[1]
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
    if not readable(listener):
        fail("no connection")
    server, _ = listener.accept()
    server.setblocking(False)
    said = []
    for _ in range(2):
        exchange(client, server, 5)
        said.append(waitall(client, server) if what == "waitall" else oob(client, server))
        server.setblocking(False)
        # Enough for both ends to leave the sockmap.
        exchange(client, server, 20)
        time.sleep(0.1)
        exchange(client, server, 5)
    print(*said)


main()
