#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""churn.py HOST PREFIX COUNT: containers come and go in random order. Each is a namespace PREFIX<n> with a veth vx<n> on the
bridge br0 of the namespace HOST. COUNT are made in all, most are removed again, some are given another address. What stays
at the end is printed: "vx<n> attached ADDRESSES", sorted as the shell sorts."""

import random
import subprocess
import sys

host, prefix, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ALIVE_MAX = 150
BATCH = 50


def batch(lines, namespace=None, force=False):
    command = ["ip"] + (["-n", namespace] if namespace else []) + (["-force"] if force else []) + ["-batch", "-"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True, stdout=subprocess.DEVNULL)


def address(n, generation):
    return f"10.{90 + generation}.{n // 250}.{n % 250 + 1}"


def make(ns):
    batch([f"netns add {prefix}{n}" for n in ns])
    batch([line for n in ns for line in (
        f"link add vx{n} type veth peer name eth0 netns {prefix}{n}",
        f"link set vx{n} master br0 up")], host)
    for n in ns:
        batch([f"addr add {address(n, 0)}/32 dev eth0", "link set eth0 up"], f"{prefix}{n}")


def readdress(n, generation):
    batch([f"addr add {address(n, generation)}/32 dev eth0", f"addr del {address(n, generation - 1)}/32 dev eth0"],
          f"{prefix}{n}")


def remove(ns):
    # Half of them by the veth, half with the namespace.
    batch([f"link del vx{n}" for n in ns if n % 2] or ["link show lo"], host)
    batch([f"netns del {prefix}{n}" for n in ns])


random.seed(1)
alive = {}
for start in range(0, count, BATCH):
    ns = list(range(start, min(start + BATCH, count)))
    make(ns)
    alive.update({n: 0 for n in ns})
    for n in random.sample(sorted(alive), min(10, len(alive))):
        alive[n] += 1
        readdress(n, alive[n])
    gone = random.sample(sorted(alive), max(0, len(alive) - ALIVE_MAX + BATCH))
    remove(gone)
    for n in gone:
        del alive[n]

lines = sorted(f"vx{n} attached {address(n, generation)}" for n, generation in alive.items())
print("\n".join(lines))
