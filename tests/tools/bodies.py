#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Gets one body over and over, on several connections at once, and compares every byte with a file.

    bodies.py HOST PORT PATH FILE SECONDS CONNECTIONS

Exit status 1, and a line that says which byte was wrong and where the one that came stands in the file. Unlike curl it
keeps its connections, and unlike wrk it looks at what it gets."""

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


def main(host, port, path, file, seconds, connections):
    with open(file, "rb") as f:
        body = f.read()
    request = f"GET {path} HTTP/1.1\r\nHost: mesh\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    for _ in range(int(connections)):
        Connection(selector, host, int(port))
    end, bodies = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        ready = selector.select(5)
        if not ready:
            fail("stalled: nothing came for 5 s")
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
    print(f"bodies={bodies}")


main(*sys.argv[1:])
