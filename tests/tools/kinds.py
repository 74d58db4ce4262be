#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""kinds.py NAME:HOST_NS:DEVICE:NS:DEVICE...: counts packets by kind on both sides of the last step into a container: as they
leave by the host's end of its veth, and as they arrive at the container's. A packet that the shortcut moved does not come by
the first. Prints "ready", and when it is killed a line for each veth and kind: NAME KIND SENT ARRIVED.

Port 7010, where the bulk is, is not counted, port 7011 is of the kind "watched" (see talk.py)."""

import collections
import ctypes
import os
import selectors
import signal
import socket
import struct
import sys

PORT, PORT_WATCHED = 7010, 7011
ETH_P_ALL = 3
SO_ATTACH_FILTER = 26
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def without_port(port):
    """A socket filter: everything but TCP and UDP from and to a port. As each instruction has it, and where it goes on."""
    load_half, load_byte, equal, any_bit, end = 0x28, 0x30, 0x15, 0x45, 0x06
    program = {
        "start": (load_half, 12),
        "is IPv4": (equal, 0x0800, "fragment", "is IPv6"),
        "fragment": (load_half, 20),
        "has no ports": (any_bit, 0x3fff, "keep", "source"),
        "source": (load_half, 34),
        "from it": (equal, port, "drop", "destination"),
        "destination": (load_half, 36),
        "to it": (equal, port, "drop", "keep"),
        "is IPv6": (equal, 0x86dd, "next header", "keep"),
        "next header": (load_byte, 20),
        "TCP": (equal, socket.IPPROTO_TCP, "source 6", "UDP"),
        "UDP": (equal, socket.IPPROTO_UDP, "source 6", "keep"),
        "source 6": (load_half, 54),
        "from it 6": (equal, port, "drop", "destination 6"),
        "destination 6": (load_half, 56),
        "to it 6": (equal, port, "drop", "keep"),
        "drop": (end, 0),
        "keep": (end, 0x40000),
    }
    at = {label: i for i, label in enumerate(program)}
    return b"".join(struct.pack("=HBBI", code, *([at[label] - i - 1 for label in labels] or [0, 0]), operand)
                    for i, (code, operand, *labels) in enumerate(program.values()))


def tap(namespace, device):
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    inside = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(inside, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    code = without_port(PORT)
    buffer = ctypes.create_string_buffer(code)
    s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                 struct.pack("HL", len(code) // 8, ctypes.addressof(buffer)))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((device, ETH_P_ALL))
    s.setblocking(False)
    libc.setns(before, CLONE_NEWNET)
    os.close(before)
    os.close(inside)
    return s


def kind_of_icmp6(kind):
    if kind in (130, 131, 132, 143):
        return "mld"
    if kind in (133, 134, 135, 136, 137):
        return "nd"
    return "echo" if kind in (128, 129) else "icmp-error"


def kind_of_ports(data, at, name):
    ports = struct.unpack("!HH", data[at:at + 4])
    if name == "udp" and PORT_WATCHED in ports:
        return "watched"
    return "dhcp" if name == "udp" and 67 in ports else name


def kind(data):
    protocol = struct.unpack("!H", data[12:14])[0]
    if protocol == 0x0806:
        return "arp"
    if protocol == 0x0800:
        at, number = 14 + (data[14] & 15) * 4, data[23]
        if struct.unpack("!H", data[20:22])[0] & 0x3fff:
            return "fragment"
        if number == 1:
            return "echo" if data[at] in (0, 8) else "icmp-error"
        if number == 2:
            return "igmp"
    elif protocol == 0x86dd:
        at, number = 54, data[20]
        if number == 0:  # hop-by-hop, as MLD has it
            at, number = at + 8 * (data[at + 1] + 1), data[at]
        if number == 44:
            return "fragment"
        if number == 58:
            return kind_of_icmp6(data[at])
    else:
        return "other"
    if number not in (6, 17):
        return "other"
    if data[0] & 1 and number == 17 and 67 not in struct.unpack("!HH", data[at:at + 4]):
        return "multicast"
    return kind_of_ports(data, at, "tcp" if number == 6 else "udp")


class Ended(Exception):
    pass


def end(*_):
    raise Ended


signal.signal(signal.SIGTERM, end)
counts = collections.defaultdict(lambda: [0, 0])
taps = selectors.DefaultSelector()
for argument in sys.argv[1:]:
    name, *sides = argument.split(":")
    for side in 0, 1:
        taps.register(tap(*sides[2 * side:2 * side + 2]), selectors.EVENT_READ, (name, side))


def read(timeout):
    events = taps.select(timeout)
    for key, _ in events:
        name, side = key.data
        while True:
            try:
                data, (_, _, packet_type, _, _) = key.fileobj.recvfrom(2048)
            except BlockingIOError:
                break
            if (packet_type == socket.PACKET_OUTGOING) == (side == 0):
                counts[name, kind(data)][side] += 1
    return events


print("ready", flush=True)
try:
    while True:
        read(None)
except Ended:
    # Only what is there already: both sides have seen it.
    read(0)
for (name, what), (sent, arrived) in sorted(counts.items()):
    print(name, what, sent, arrived)
