#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Holds a text on standard input against what OpenMetrics and node_exporter's older parser both take, and prints its
samples as JSON: {"name{label=value,...}": number}."""

import json
import re
import sys

SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')

text = sys.stdin.read()
if not text.endswith("# EOF\n") or text.count("# EOF") != 1:
    sys.exit("does not end with # EOF")
samples, types, helps, seen, family = {}, {}, set(), set(), None
for number, line in enumerate(text.splitlines()[:-1], 1):
    def wrong(why):
        sys.exit(f"line {number}: {why}: {line}")

    if line.startswith("# TYPE "):
        family, kind = line.split(" ")[2:]
        if family in seen:
            wrong("a family twice")
        # Other types are an error to node_exporter.
        if kind not in ("counter", "gauge"):
            wrong("neither counter nor gauge")
        seen.add(family)
        types[family] = kind
        continue
    if line.startswith("# HELP "):
        if line.split(" ")[2] != family or family in helps:
            wrong("not the help of this family")
        helps.add(family)
        continue
    match = SAMPLE.match(line)
    if not match:
        wrong("no sample")
    name, labels, value = match.groups()
    if family is None or name != family + ("_total" if types[family] == "counter" else ""):
        wrong(f"not of the family {family}")
    rest, pairs = labels or "", []
    while rest:
        label = LABEL.match(rest)
        if not label:
            wrong("bad labels")
        pairs.append(f"{label[1]}={label[2]}")
        rest = rest[label.end():]
    key = name + ("{" + ",".join(pairs) + "}" if pairs else "")
    if key in samples:
        wrong("a sample twice")
    samples[key] = int(value)
if seen != helps:
    sys.exit(f"no help: {seen - helps}")
json.dump(samples, sys.stdout)
