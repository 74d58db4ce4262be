#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A peer outside CgroupRoot is what a remote host looks like: never enrolled, and not slower for the service being there.
. "$(dirname "$0")/lib.sh"

ROUNDS=7
configure_all
daemon_start_active
ns_add host
at_exec server host "$TOOLS/rr" --listen 127.0.0.1:7001 --cpu 0 &
at_exec "$CG_TOP/outside" host "$TOOLS/rr" --listen '[::1]:7002' --cpu 0 &
eventually 5 listening host 7001
eventually 5 listening host 7002

inbound() { at "$CG_TOP/outside" host "$TOOLS/rr" --connect 127.0.0.1:7001 --cpu 0 --seconds "$1"; }
outbound() { at client host "$TOOLS/rr" --connect '[::1]:7002' --cpu 0 --seconds "$1"; }

mark
inbound 0.2 >/dev/null
assert_eq "left as remote, server inside" "$(since socket.connections_left.remote)" 1
mark
outbound 0.2 >/dev/null
assert_eq "left as remote, client inside" "$(since socket.connections_left.remote)" 1
assert_eq "paired" "$(counter socket.connections_paired)" 0

# ratio DIRECTION: the median over the rounds of the rate with the service running by that without.
ratio() {
        local i on off
        for ((i = 0; i < ROUNDS; i++)); do
                daemon_running || daemon_start
                on=$("$1" 0.5 | field rate)
                daemon_stop
                off=$("$1" 0.5 | field rate)
                calc "$on / $off"
                echo
        done | median
}

# The machine may be busy with other things: the best of three tries counts.
for direction in inbound outbound; do
        best=0
        for try in 1 2 3; do
                daemon_stop
                r=$(ratio $direction)
                say "$direction, try $try: rate with the service by rate without: $r"
                best=$(calc "($r > $best) ? $r : $best")
                awk -v b="$best" 'BEGIN { exit !(b >= 0.98) }' && break
        done
        assert_ge "$direction: rate with the service by rate without" "$best" 0.98
done
