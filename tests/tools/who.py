#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Who has an address?

who.py serve NAME            answers every UDP request with NAME
who.py ask ADDRESS SECONDS   asks a hundred times a second; prints "TIME NAME" for each answer
who.py announce DEVICE ADDRESS   says by a gratuitous ARP that the address is here now
who.py judge MOVES ANSWERS   each answer must be of the container that had the address, by MOVES ("TIME NAME" for each
                             move), at that time; a request that was under way while it moved may be answered by either
"""

import select
import socket
import struct
import sys
import time

PORT = 7010
UNDER_WAY = 0.2  # seconds


def serve(name):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", PORT))
    while True:
        data, peer = s.recvfrom(100)
        try:
            s.sendto(name.encode(), peer)
        except OSError:
            pass


def ask(address, seconds):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end = time.time() + float(seconds)
    while time.time() < end:
        try:
            s.sendto(b"who?", (address, PORT))
            # From whichever address the container answers.
            while select.select([s], [], [], 0.01)[0]:
                print(f"{time.time():.4f} {s.recv(100).decode()}")
        except OSError:
            time.sleep(0.01)


def announce(device, address):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((device, 0))
    mac = s.getsockname()[4]
    ip = socket.inet_aton(address)
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + b"\0" * 6 + ip
    s.send(b"\xff" * 6 + mac + struct.pack("!H", 0x0806) + arp)


def judge(moves, answers):
    owners = [(float(t), name) for t, name in (line.split() for line in open(moves))]
    counts, wrong = {}, []
    for t, name in ((float(t), name) for t, name in (line.split() for line in open(answers))):
        allowed = {n for i, (start, n) in enumerate(owners)
                   if start <= t and (i + 1 == len(owners) or t < owners[i + 1][0] + UNDER_WAY)}
        if name not in allowed:
            wrong.append((t, name, allowed))
        counts[name] = counts.get(name, 0) + 1
    print(f"answers: {counts}, wrong: {wrong[:5]}")
    sys.exit(1 if wrong or len(counts) != 2 or min(counts.values()) < 100 else 0)


{"serve": serve, "ask": ask, "announce": announce, "judge": judge}[sys.argv[1]](*sys.argv[2:])
