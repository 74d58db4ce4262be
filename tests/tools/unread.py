#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Many connections whose receiver does not read until the sender is done: what does send() say?

    unread.py receive FILE    listens, and writes its port there
    unread.py send FILE       fails if send() says anything but "written" and "try again"
"""

import collections
import errno
import select
import socket
import sys
import time

CONNECTIONS = 40


def receive(file):
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
    listener.setblocking(False)
    with open(file, "w") as f:
        f.write(str(listener.getsockname()[1]))
    accepted = []
    while len(accepted) < CONNECTIONS:
        if not select.select([listener], [], [], 10)[0]:
            sys.exit("nobody connects")
        s, _ = listener.accept()
        s.setblocking(False)
        accepted.append(s)
    time.sleep(3)
    while accepted:
        for s in select.select(accepted, [], [], 10)[0]:
            if not s.recv(1 << 20):
                accepted.remove(s)


def send(file):
    with open(file) as f:
        address = ("127.0.0.1", int(f.read()))
    sockets = []
    for _ in range(CONNECTIONS):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(address)
        select.select([], [s], [], 2)
        sockets.append(s)
    time.sleep(0.3)
    results = collections.Counter()
    for _ in range(60):
        for s in sockets:
            try:
                s.send(b"x" * 16384)
                results["written"] += 1
            except OSError as e:
                results[errno.errorcode[e.errno]] += 1
        time.sleep(0.01)
    print(dict(results))
    sys.exit(bool(results.keys() - {"written", "EAGAIN"}))


{"receive": receive, "send": send}[sys.argv[1]](sys.argv[2])
