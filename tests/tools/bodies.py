#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Gets one body over and over, on several connections at once, and compares every byte with a file.

    bodies.py HOST PORT PATH FILE SECONDS CONNECTIONS [--count=N] [--rate=BYTES] [--patience=SECONDS]

With --count it is done when that many bodies came, and has failed when they have not after SECONDS. --rate makes each
connection a slow reader. Nothing for --patience seconds (5) is a stall. Prints the longest time in which nothing came, too.

Exit status 1, and a line that says which byte was wrong and where the one that came stands in the file. Unlike curl it
keeps its connections, and unlike wrk it looks at what it gets."""

import argparse
import selectors
import socket
import sys
import time


def fail(*words):
    print(*words)
    sys.exit(1)


class Connection:
    def __init__(self, selector, host, port):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setblocking(False)
        self.socket.connect_ex((host, port))
        self.header = b""
        self.position = -1  # in the body; -1: in the header
        self.requests = 0
        selector.register(self.socket, selectors.EVENT_WRITE, self)

    def where(self):
        return f"request {self.requests} of {self.socket.getsockname()}, byte {self.position}"

    def take(self, data, body):
        """Returns True when the body is complete."""
        if self.position < 0:
            self.header += data
            head, end, data = self.header.partition(b"\r\n\r\n")
            if not end:
                return False
            if b" 200 " not in head:
                fail(self.where(), "header", head[:200])
            self.header, self.position = b"", 0
        expected = body[self.position : self.position + len(data)]
        if data != expected:
            wrong = next((i for i, (a, b) in enumerate(zip(data, expected)) if a != b), len(expected))
            fail(self.where(), "offset", wrong, "is what stands at", body.find(data[wrong : wrong + 32]))
        self.position += len(data)
        return self.position == len(body)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("file")
    parser.add_argument("seconds", type=float)
    parser.add_argument("connections", type=int)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--patience", type=float, default=5)
    return parser.parse_args()


def main():
    args = arguments()
    with open(args.file, "rb") as f:
        body = f.read()
    request = f"GET {args.path} HTTP/1.1\r\nHost: mesh\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    for _ in range(args.connections):
        Connection(selector, args.host, args.port)
    begun = last = time.monotonic()
    bodies, longest = 0, 0
    while time.monotonic() < begun + args.seconds and not (args.count and bodies >= args.count):
        ready = selector.select(args.patience)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        if not ready:
            fail(f"stalled: nothing came for {args.patience} s, after {bodies} bodies")
        for key, _ in ready:
            connection = key.data
            if key.events & selectors.EVENT_WRITE:
                connection.requests += 1
                connection.socket.send(request)
                selector.modify(connection.socket, selectors.EVENT_READ, connection)
                continue
            try:
                data = connection.socket.recv(131072)
            except BlockingIOError:
                continue
            if not data:
                fail(connection.where(), "closed")
            if connection.take(data, body):
                bodies += 1
                connection.position = -1
                selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
            if args.rate:
                time.sleep(len(data) / args.rate / args.connections)
    if bodies < args.count:
        fail(f"{bodies} of {args.count} bodies in {args.seconds} s")
    print(f"bodies={bodies} longest={longest:.3f} seconds={time.monotonic() - begun:.2f}")


main()
