#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""What containers say to each other beside their bulk traffic.

talk.py serve ADDRESS               sends back what it gets, by UDP and TCP at 7010 and by UDP at 7011, until killed
talk.py flow ADDRESS                asks at 7010 by UDP and TCP, some hundred times a second, until killed; every answer is
                                    compared. Prints what was lost, which is 0 or 1 by TCP: that it broke.
talk.py hops TTL ADDRESS...         a flow to 7011; once it runs, a packet of it with this TTL, and a normal one
talk.py mtu ADDRESS...              a flow to 7011; once it runs, large packets of it, until the kernel knows a path MTU
talk.py receive DEVICE join|listen ADDRESS...
                                    says "ready", and when it is killed what came by UDP at 7012 for groups or broadcast
                                    addresses; "listen" does not join them
talk.py send DEVICE COUNT ADDRESS...  to such addresses
talk.py advertise DEVICE PREFIX     a router advertisement with a /64 for autoconfiguration
"""

import errno
import ipaddress
import os
import selectors
import signal
import socket
import struct
import sys
import time

PORT, PORT_WATCHED, PORT_GROUP = 7010, 7011, 7012
REQUESTS = 60  # after so many a flow has its lease
ASK_SECONDS = 0.004 * int(os.environ.get("MESHCUT_SLOW", "1"))
# linux/in.h and linux/in6.h; Python has no name for them.
IP_MTU_DISCOVER, IP_MTU, IP_RECVERR = 10, 14, 11
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 23, 24, 25
PMTUDISC_DO = 2


class Ended(Exception):
    pass


def end(*_):
    raise Ended


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(address):
    sockets = selectors.DefaultSelector()

    def answer(s):
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)

    def answer_stream(s):
        try:
            data = s.recv(65536)
            s.sendall(data)
        except ConnectionError:  # whoever traces a route by SYNs may reset what it began
            data = b""
        if not data:
            sockets.unregister(s)
            s.close()

    for port in PORT, PORT_WATCHED:
        s = socket.socket(family_of(address), socket.SOCK_DGRAM)
        s.bind((address, port))
        sockets.register(s, selectors.EVENT_READ, answer)
    listener = socket.create_server((address, PORT), family=family_of(address))
    sockets.register(listener, selectors.EVENT_READ,
                     lambda s: sockets.register(s.accept()[0], selectors.EVENT_READ, answer_stream))
    while True:
        for key, _ in sockets.select():
            key.data(key.fileobj)


def ask(s, data):
    """Whether the answer comes. One to an earlier question may come first."""
    try:
        s.send(data)
        while s.recv(65536) != data:
            pass
    except TimeoutError:
        return False
    return True


def flow(address):
    datagrams = socket.socket(family_of(address), socket.SOCK_DGRAM)
    datagrams.connect((address, PORT))
    datagrams.settimeout(2)
    stream = socket.create_connection((address, PORT), timeout=10)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lost = broken = count = 0
    try:
        while not broken:
            count += 1
            question = struct.pack("!Q", count) * 32
            lost += not ask(datagrams, question)
            stream.send(question)
            got = b""
            while len(got) < len(question):
                more = stream.recv(len(question) - len(got))
                if not more:
                    break
                got += more
            broken = got != question
            time.sleep(ASK_SECONDS)
    except Ended:
        pass
    except OSError as e:
        print(e, file=sys.stderr)
        broken = True
    print(f"udp lost={lost} tcp lost={int(broken)} count={count}")


def watched_flow(address):
    s = socket.socket(family_of(address), socket.SOCK_DGRAM)
    s.connect((address, PORT_WATCHED))
    s.settimeout(2)
    for i in range(REQUESTS):
        if not ask(s, struct.pack("!I", i)):
            raise SystemExit("no answer")
    return s


def error_of(s):
    """Who complained of what, as the kernel tells a socket."""
    for _ in range(100):
        try:
            _, control, _, _ = s.recvmsg(100, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        data = control[0][2]
        number, origin, kind, code = struct.unpack("=IBBB", data[:7])
        where = data[16:]
        who = (socket.inet_ntop(socket.AF_INET6, where[8:24]) if s.family == socket.AF_INET6
               else socket.inet_ntop(socket.AF_INET, where[4:8]))
        return f"{errno.errorcode[number]} type {kind} code {code} of {who}"
    return "nothing"


def hops_to(address, ttl):
    s = watched_flow(address)
    v6 = s.family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    option = socket.IPV6_UNICAST_HOPS if v6 else socket.IP_TTL
    s.setsockopt(level, IPV6_RECVERR if v6 else IP_RECVERR, 1)
    before = s.getsockopt(level, option)
    s.setsockopt(level, option, ttl)
    s.send(b"short")
    s.settimeout(0.3)
    try:
        print("TTL", ttl, "answered" if s.recv(100) == b"short" else "?")
    except TimeoutError:
        print("TTL", ttl, "lost")
    except OSError as e:
        print("TTL", ttl, errno.errorcode[e.errno], error_of(s))
    s.settimeout(2)
    s.setsockopt(level, option, before)
    print("then", "answered" if ask(s, b"long") else "lost")


def hops(ttl, *addresses):
    for address in addresses:
        hops_to(address, int(ttl))


def mtu_to(address):
    s = watched_flow(address)
    v6 = s.family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    s.setsockopt(level, IPV6_MTU_DISCOVER if v6 else IP_MTU_DISCOVER, PMTUDISC_DO)
    s.settimeout(0.2)
    for _ in range(20):
        try:
            print("answered" if ask(s, bytes(1400)) else "lost")
        except OSError as e:
            print(errno.errorcode[e.errno], s.getsockopt(level, IPV6_MTU if v6 else IP_MTU))
            break
    s.settimeout(2)
    print("then", "answered" if ask(s, bytes(1200)) else "lost")


def mtu(*addresses):
    for address in addresses:
        mtu_to(address)


def join(s, group, device):
    index = struct.pack("=I", socket.if_nametoindex(device))
    if group.version == 6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + index)
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + bytes(4) + index)


def receive(device, how, *addresses):
    sockets = selectors.DefaultSelector()
    got = {address: [] for address in addresses}
    for address in addresses:
        s = socket.socket(family_of(address), socket.SOCK_DGRAM)
        s.bind((address, PORT_GROUP))
        sockets.register(s, selectors.EVENT_READ, address)
        group = ipaddress.ip_address(address)
        if how == "join" and group.is_multicast:
            join(s, group, device)
    print("ready", flush=True)
    try:
        while True:
            for key, _ in sockets.select():
                got[key.data].append(struct.unpack("!I", key.fileobj.recv(100))[0])
    except Ended:
        for address, numbers in got.items():
            print(how, address, len(numbers), "in order" if numbers == sorted(set(numbers)) else "in disorder")


def send(device, count, *addresses):
    for address in addresses:
        s = socket.socket(family_of(address), socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        for i in range(int(count)):
            s.sendto(struct.pack("!I", i), (address, PORT_GROUP))
            time.sleep(0.01)


def advertise(device, prefix):
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    header = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 3600, 3600, 0) + ipaddress.ip_address(prefix).packed
    s.sendto(header + option, ("ff02::1", 0, 0, socket.if_nametoindex(device)))


signal.signal(signal.SIGTERM, end)
try:
    globals()[sys.argv[1]](*sys.argv[2:])
except Ended:
    pass
