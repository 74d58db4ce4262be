#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""ttl.py serve ADDRESS | ask ADDRESS: the TTL or hop limit that the server sees in the last of a hundred UDP requests; the
client prints it. The first of them take the normal path, the last ones do not."""

import socket
import struct
import sys

PORT = 7009
REQUESTS = 100
IP_RECVTTL = 12  # linux/in.h; Python has no name for it


def main():
    action, address = sys.argv[1:]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    if action == "serve":
        if family == socket.AF_INET:
            s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        else:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        s.bind((address, PORT))
        while True:
            _, control, _, peer = s.recvmsg(100, 100)
            s.sendto(struct.pack("=i", struct.unpack("=i", control[0][2][:4])[0]), peer)
    s.settimeout(2)
    s.connect((address, PORT))
    for _ in range(REQUESTS):
        s.send(b"?")
        ttl = struct.unpack("=i", s.recv(100))[0]
    print(ttl)


main()
