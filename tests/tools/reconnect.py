#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""One socket, two connections: connect(AF_UNSPEC) ends the first with bytes unread, and the second must not get them."""

import ctypes
import select
import socket
import sys
import time


def listener():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(1)
    s.setblocking(False)
    return s


def connect(client, server):
    client.connect_ex(server.getsockname())
    select.select([server], [], [], 2)
    accepted, _ = server.accept()
    accepted.setblocking(False)
    return accepted


client = socket.socket()
client.setblocking(False)
first, second = listener(), listener()

connect(client, first).send(b"of the first connection")
time.sleep(0.1)
if ctypes.CDLL(None).connect(client.fileno(), bytes(16), 16) != 0:  # sa_family 0 is AF_UNSPEC
    sys.exit("connect(AF_UNSPEC) fails")
server = connect(client, second)
server.send(b"of the second")
select.select([client], [], [], 2)
got = client.recv(100)
if got != b"of the second":
    sys.exit(f"the second connection gets {got}")
client.send(b"answer")
select.select([server], [], [], 2)
if server.recv(100) != b"answer":
    sys.exit("the answer is wrong")
