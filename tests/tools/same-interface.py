#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Compares what a service says of an interface with the normative text.

    same-interface.py INTERFACE NORMATIVE.xml <INTROSPECTED.xml"""

import sys
import xml.etree.ElementTree as ElementTree


def members(root, name):
    interface = root.find(f"interface[@name='{name}']")
    if interface is None:
        sys.exit(f"no interface {name}")
    found = {}
    for member in interface:
        if member.tag == "annotation":
            continue
        args = [(a.get("name"), a.get("type"), a.get("direction", "in")) for a in member.findall("arg")]
        changed = [a.get("value") for a in member.findall("annotation") if a.get("name").endswith("EmitsChangedSignal")]
        found[member.tag, member.get("name")] = (args, member.get("type"), member.get("access"), changed or ["true"])
    return found


name, normative = sys.argv[1:]
wanted = members(ElementTree.parse(normative).getroot(), name)
there = members(ElementTree.fromstring(sys.stdin.read()), name)
differing = [key for key in sorted(wanted.keys() | there.keys()) if wanted.get(key) != there.get(key)]
for key in differing:
    print(*key, "normative:", wanted.get(key), "service:", there.get(key))
sys.exit(bool(differing))
