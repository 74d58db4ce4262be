#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""links-compare.py HOST NAMESPACE... <TABLE: compares what the tool "links" printed in the namespace HOST with what ip says of
HOST and of the namespaces that its veths lead to. Prints the differences, or how many veths were compared."""

import json
import re
import subprocess
import sys


def ip(namespace, *arguments):
    out = subprocess.run(["ip", "-n", namespace, "-j", *arguments], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(out or "[]")


def devices(namespace):
    return {device["ifindex"]: device for device in ip(namespace, "addr", "show")}


def row(host, peer):
    addresses = sorted({a["local"] for a in peer.get("addr_info", []) if a["scope"] == "global"})
    return (host["ifname"], host["address"], peer["ifname"], peer["address"], str(peer["mtu"]), ",".join(addresses))


host, others = sys.argv[1], {name: devices(name) for name in sys.argv[2:]}
# The name of the namespace is not in JSON.
text = subprocess.run(["ip", "-n", host, "-o", "link", "show"], check=True, stdout=subprocess.PIPE, text=True).stdout
names = dict(re.findall(r"^\d+: ([^@:\n]+)@.* link-netns (\S+)", text, re.MULTILINE))
truth = set()
for device in devices(host).values():
    if "link_netnsid" in device:
        truth.add(row(device, others[names[device["ifname"]]][device["link_index"]]))

known = set()
for line in sys.stdin:
    fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
    if "error" in fields or int(fields.get("nsid", -1)) != -1:
        names = ("name", "mac", "peer-name", "peer-mac", "peer-mtu")
        addresses = ",".join(sorted(fields["addresses"].split(",")))
        known.add(tuple(fields.get(name, fields.get("error", "none")) for name in names) + (addresses,))

for what, rows in (("missing", truth - known), ("wrong", known - truth)):
    for values in sorted(rows):
        print(f"{what}: {' '.join(values)}")
if truth != known:
    sys.exit(1)
print(len(truth))
