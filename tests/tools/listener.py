#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""A listener in blocking mode, and the connections to it, from non-blocking clients.

Reads lines "MODE COUNT SECONDS": opens COUNT connections one after the other, whose accepted sockets are "blocking" or
"nonblocking", exchanges messages on each, and again SECONDS later. Answers each line with "done"; ends with status 1 when bytes
are missing."""

import select
import socket
import sys
import time


def exchange(client, server):
    for number in range(5):
        for sender, receiver in ((client, server), (server, client)):
            sent = bytes([number]) * 64
            sender.sendall(sent)
            came = b""
            while len(came) < len(sent):
                if not select.select([receiver], [], [], 10)[0]:
                    sys.exit(f"{len(came)} of {len(sent)} bytes came")
                came += receiver.recv(len(sent) - len(came))
            if came != sent:
                sys.exit("other bytes than were sent")


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    for line in sys.stdin:
        mode, count, seconds = line.split()
        for _ in range(int(count)):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            server, _ = listener.accept()
            server.setblocking(mode == "blocking")
            exchange(client, server)
            if float(seconds):
                time.sleep(float(seconds))
                exchange(client, server)
            client.close()
            server.close()
        print("done", flush=True)


main()
