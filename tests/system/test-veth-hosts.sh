#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Two hosts, each a namespace with the service in it and containers behind it: packets go from a container to the uplink and
# from the uplink into a container, in both directions, over a plain link and over vxlan.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

host_add host
host_add other
NS_DAEMON=host
one=meshcut-$ID-host two=meshcut-$ID-other
ip -n "$one" link add up0 type veth peer name up0 netns "$two"
ip -n "$one" addr add 192.0.2.1/24 dev up0
ip -n "$two" addr add 192.0.2.2/24 dev up0
ip -n "$one" addr add 2001:db8::1/64 dev up0 nodad
ip -n "$two" addr add 2001:db8::2/64 dev up0 nodad
ip -n "$one" link set up0 up
ip -n "$two" link set up0 up
container_add host a 5 1
bridge_add other br0 6
container_add other b 6 1 br0

# reach VIA1 VIA2 VIA1_6 VIA2_6 DEVICE: how the hosts reach each other's containers.
reach() {
        ip -n "$one" route replace 10.88.6.0/24 via "$2" dev "$5"
        ip -n "$two" route replace 10.88.5.0/24 via "$1" dev "$5"
        ip -n "$one" route replace fd88:6::/64 via "$4" dev "$5"
        ip -n "$two" route replace fd88:5::/64 via "$3" dev "$5"
}
reach 192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2 up0

# Both hosts' counters together, and each one's.
both() { echo $(($(counter veth.packets_shortcut) + $(other counter veth.packets_shortcut))); }

measure() { # WHAT
        local pid address here there count
        for address in 10.88.6.1 '[fd88:6::1]'; do
                say "$1, $address"
                at_exec b b "$TOOLS/integrity" --listen "$address:7001" --port2 7002 >"$SCRATCH/server" 2>&1 &
                pid=$!
                eventually 5 listening b 7002
                here=$(counter veth.packets_shortcut) there=$(other counter veth.packets_shortcut)
                at a a "$TOOLS/integrity" --connect "$address:7001" --port2 7002 --connections 8 --seconds 2 >&2 ||
                        fail "integrity: $(cat "$SCRATCH/server")"
                wait $pid || fail "integrity: $(cat "$SCRATCH/server")"
                assert_ge "packets at the one host" $(($(counter veth.packets_shortcut) - here)) "$(many 1000)"
                assert_ge "packets at the other" $(($(other counter veth.packets_shortcut) - there)) "$(many 1000)"

                at_exec b b "$TOOLS/udp" --listen "$address:7003" &
                pid=$!
                eventually 5 listening_udp b 7003
                here=$(counter veth.packets_shortcut) there=$(other counter veth.packets_shortcut)
                out=$(at a a "$TOOLS/udp" --connect "$address:7003" --seconds 1.5) || fail "UDP: $out"
                say "$out"
                count=$(field count <<<"$out")
                assert_eq "UDP lost" "$(field lost <<<"$out")" 0
                # Both directions at each host. Those of the last 10 ms of a lease take the normal path.
                assert_ge "UDP at the one host" $(($(counter veth.packets_shortcut) - here)) $((count * 19 / 10))
                assert_ge "UDP at the other" $(($(other counter veth.packets_shortcut) - there)) $((count * 19 / 10))
                kill $pid
                wait $pid 2>/dev/null || true
        done
}

configure_veth direct 'Uplinks=up0 vx0'
daemon_start_veth
attached vea up0
other_start
other attached veb up0
measure "over a plain link"

say "over vxlan"
ip -n "$one" link add vx0 type vxlan id 42 dev up0 remote 192.0.2.2 dstport 4789
ip -n "$two" link add vx0 type vxlan id 42 dev up0 remote 192.0.2.1 dstport 4789
ip -n "$one" addr add 198.51.100.1/24 dev vx0
ip -n "$two" addr add 198.51.100.2/24 dev vx0
ip -n "$one" addr add 2001:db8:1::1/64 dev vx0 nodad
ip -n "$two" addr add 2001:db8:1::2/64 dev vx0 nodad
ip -n "$one" link set vx0 up
ip -n "$two" link set vx0 up
attached vx0
other attached vx0
reach 198.51.100.1 198.51.100.2 2001:db8:1::1 2001:db8:1::2 vx0
measure "over vxlan"

say "a masquerade: works, and is left alone"
ip -n "$two" route del 10.88.5.0/24
in_ns host iptables -w -t nat -A POSTROUTING -s 10.88.5.0/24 -o vx0 -j MASQUERADE
at_exec b b "$TOOLS/udp" --listen 10.88.6.1:7003 &
eventually 5 listening_udp b 7003
mark
at a a "$TOOLS/udp" --connect 10.88.6.1:7003 --seconds 0.5 >&2 || fail "masquerade"
assert_eq "packets" "$(since veth.packets_shortcut)" 0

kill "$OTHER_PID"
wait "$OTHER_PID" 2>/dev/null || true
[[ ! -e $SCRATCH/bpf/other ]] || fail "pins after a stop"
