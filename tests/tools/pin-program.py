#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""pin-program.py TYPE PATH: loads a BPF program that lets everything pass, pins it, and prints its id."""

import ctypes
import os
import struct
import sys

NR_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
TYPES = {"sched_cls": (3, 0xFFFFFFFF), "xdp": (6, 2)}  # type, and what the program returns: TC_ACT_UNSPEC, XDP_PASS
PROG_LOAD, OBJ_PIN, OBJ_GET_INFO = 5, 6, 15

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    r = libc.syscall(NR_BPF, command, buffer, len(buffer))
    if r < 0:
        sys.exit(f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return r


kind, result = TYPES[sys.argv[1]]
# r0 = result; exit
code = ctypes.create_string_buffer(struct.pack("<BBhIBBhI", 0xB7, 0, 0, result, 0x95, 0, 0, 0))
license = ctypes.create_string_buffer(b"GPL")
fd = bpf(PROG_LOAD, struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(license)))
path = ctypes.create_string_buffer(os.fsencode(sys.argv[2]))
bpf(OBJ_PIN, struct.pack("=QI", ctypes.addressof(path), fd))
info = ctypes.create_string_buffer(256)
bpf(OBJ_GET_INFO, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
print(struct.unpack_from("=II", info)[1])
