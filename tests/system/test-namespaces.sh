#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Two pairs of namespaces with the same addresses and ports, at the same time: nothing crosses, all pairs are shortcut.
. "$(dirname "$0")/lib.sh"

configure <<-'EOF'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOF
daemon_start_active

for pair in 1 2; do
        ns_add a$pair b$pair
        ns_link a$pair b$pair 10.77.1
        # Few ports, so that both pairs come to use the same ones.
        in_ns a$pair sh -c 'echo 40000 42000 >/proc/sys/net/ipv4/ip_local_port_range'
done

pids=()
for pair in 1 2; do
        for family in 4 6; do
                case $family in
                4) server=10.77.1.2 port=7001 ;;
                6) server='[fd77:10:77:1::2]' port=7011 ;;
                esac
                at_exec server$pair b$pair "$TOOLS/integrity" --listen "$server:$port" --port2 $((port + 1)) \
                        >"$SCRATCH/server$pair$family" 2>&1 &
                pids+=($!)
                # A seed of its own: a byte that crossed would be a wrong one.
                at_exec client$pair a$pair "$TOOLS/integrity" --connect "$server:$port" --port2 $((port + 1)) \
                        --connections 16 --seconds 5 --seed $((pair * 10 + family)) >"$SCRATCH/client$pair$family" 2>&1 &
                pids+=($!)
        done
done
for pid in "${pids[@]}"; do
        wait "$pid" || fail "$(tail -qn 2 "$SCRATCH"/client?? "$SCRATCH"/server??)"
done

opened=0
for pair in 1 2; do
        for family in 4 6; do
                # And the control connection at the end.
                opened=$((opened + 1 + $(field connections <"$SCRATCH/client$pair$family")))
        done
done
assert_eq "paired" "$(counter socket.connections_paired)" $opened
assert_ge "bytes by shortcut" "$(counter socket.bytes_shortcut)" 1000000
