#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""A connection of two non-blocking sockets on loopback, one of which gets a socket option.

    options.py OPTION WHEN

OPTION: lowat (SO_RCVLOWAT at the server's end), zerocopy (SO_ZEROCOPY at the client's), ulp (TCP_ULP at the client's), large
(a value of two pages) or none. WHEN: before the handshake, at the listener, or later, when some messages have been exchanged. Then
the option has to do what it does on TCP. Prints what setting it said, "ok" or the name of the error. Exit status 1 when bytes
are not those that were sent, or something does not happen within 10 s."""

import errno
import select
import socket
import struct
import sys

LOWAT = 100
SO_ZEROCOPY, MSG_ZEROCOPY, TCP_ULP = 60, 0x4000000, 31


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def set_option(name, sock):
    try:
        if name == "lowat":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, LOWAT)
        elif name == "zerocopy":
            sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        elif name == "ulp":
            sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        elif name == "large":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, struct.pack("i", 1) + bytes(8192 - 4))
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                fail("the large option did nothing")
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]


def readable(sock, seconds=10.0):
    return bool(select.select([sock], [], [], seconds)[0])


def exchange(one, other, times, size=LOWAT):
    """Each direction in turn, so that the connection is no stream."""
    for number in range(times):
        for sender, receiver in ((one, other), (other, one)):
            sent = bytes((number * 31 + i) % 251 for i in range(size))
            sender.sendall(sent)
            came = b""
            while len(came) < size:
                if not readable(receiver):
                    fail(f"{len(came)} of {size} bytes came")
                came += receiver.recv(size - len(came))
            if came != sent:
                fail("other bytes than were sent")


def check_lowat(client, server):
    client.sendall(bytes(LOWAT // 2))
    if readable(server, 0.2):
        fail("woken below SO_RCVLOWAT")
    client.sendall(bytes(LOWAT - LOWAT // 2))
    if not readable(server) or len(server.recv(LOWAT)) != LOWAT:
        fail("not woken by SO_RCVLOWAT bytes")


def check_zerocopy(sender, receiver):
    sender.sendmsg([bytes(LOWAT)], [], MSG_ZEROCOPY)
    if not readable(receiver) or len(receiver.recv(LOWAT)) != LOWAT:
        fail("the bytes of MSG_ZEROCOPY do not come")
    poll = select.poll()
    poll.register(sender, 0)
    if not poll.poll(10000):
        fail("MSG_ZEROCOPY is never completed")
    sender.recvmsg(1, 1024, socket.MSG_ERRQUEUE)


def main():
    name, when = sys.argv[1:3]
    said = "ok"
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = socket.socket()
    client.setblocking(False)
    if when == "listener":
        said = set_option(name, listener)
    elif when == "before":
        said = set_option(name, client)
    client.connect_ex(listener.getsockname())
    if not readable(listener):
        fail("no connection")
    server, _ = listener.accept()
    server.setblocking(False)
    exchange(client, server, 5)
    if when == "later":
        said = set_option(name, server if name == "lowat" else client)
    # Enough for both ends to leave the sockmap.
    exchange(client, server, 20)
    if name == "lowat" and when != "before":
        check_lowat(client, server)
    if name == "zerocopy":
        check_zerocopy(*(server, client) if when == "listener" else (client, server))
    exchange(client, server, 5, 5000)
    print(said)


main()
