#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The veth shortcut between containers of one host: on one bridge, routed, and from one to the other; IPv4 and IPv6, TCP and
# UDP, small and large packets. Every byte is checked, and packets are counted.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

host_add host
NS_DAEMON=host
bridge_add host br0 1
container_add host a 1 1 br0
container_add host b 1 2 br0
container_add host r 2 1
container_add host s 2 2
configure_veth direct
daemon_start_veth
attached vea veb ver ves
assert_eq "addresses of vea" "$(veth vea Addresses)" "10.88.1.1 fd88:1::1"
assert_eq "PeerIfIndex" "$(veth vea PeerIfIndex)" "$(ip -n "meshcut-$ID-a" -j link show eth0 | jq '.[0].ifindex')"
busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" introspect --xml-interface org.meshcut1 \
        "/org/meshcut1/veth/_$(veth vea IfIndex)" |
        "$TOP/tests/tools/same-interface.py" org.meshcut1.Veth "$TOP/dbus/org.meshcut1.xml" >&2 ||
        fail "the interface is not that of dbus/org.meshcut1.xml"

# pair CLIENT SERVER ADDRESS
pair() {
        local client=$1 server=$2 address=$3 pid out
        say "$client to $server, $address"
        at_exec "$server" "$server" "$TOOLS/integrity" --listen "$address:7001" --port2 7002 >"$SCRATCH/server" 2>&1 &
        pid=$!
        eventually 5 listening "$server" 7002
        mark
        at "$client" "$client" "$TOOLS/integrity" --connect "$address:7001" --port2 7002 --connections 8 --seconds 1 \
                >"$SCRATCH/client" 2>&1 || fail "integrity: $(cat "$SCRATCH/client" "$SCRATCH/server")"
        wait $pid || fail "integrity: $(cat "$SCRATCH/server")"
        assert_ge "TCP packets" "$(since veth.packets_shortcut)" "$(many 1000)"
        assert_ge "TCP bytes" "$(since veth.bytes_shortcut)" \
                $((($(field to_server <"$SCRATCH/client") + $(field to_client <"$SCRATCH/client")) * 8 / 10))

        at_exec "$server" "$server" "$TOOLS/udp" --listen "$address:7003" &
        pid=$!
        eventually 5 listening_udp "$server" 7003
        for size in 64 1400 9000; do
                mark
                out=$(at "$client" "$client" "$TOOLS/udp" --connect "$address:7003" --size $size --seconds 0.3) ||
                        fail "UDP: $out"
                say "$out"
                assert_le "UDP lost" "$(field lost <<<"$out")" 0
                case $size in
                # A datagram in fragments takes the normal path.
                9000)
                        assert_eq "UDP packets" "$(since veth.packets_shortcut)" 0
                        assert_ge "fragments" "$(since veth.passed.fragment)" "$(field count <<<"$out")"
                        ;;
                *) assert_ge "UDP packets" "$(since veth.packets_shortcut)" $((2 * $(field count <<<"$out") - 20)) ;;
                esac
        done
        kill $pid
        wait $pid 2>/dev/null || true
}
pair a b 10.88.1.2
pair a b '[fd88:1::2]'
pair r s 10.88.2.2
pair r s '[fd88:2::2]'
pair a s 10.88.2.2
pair a s '[fd88:2::2]'

say "what is not TCP or UDP is as before"
in_ns a ping -q -c 3 -i 0.2 10.88.2.2 >/dev/null || fail "ping"
in_ns a ping -q -c 3 -i 0.2 fd88:1::2 >/dev/null || fail "ping, IPv6"
# The TTL shows how many routers a packet met.
assert_eq "TTL through a bridge" "$(in_ns a ping -c 1 10.88.1.2 | grep -o 'ttl=[0-9]*')" ttl=64
assert_eq "TTL through routing" "$(in_ns a ping -c 1 10.88.2.2 | grep -o 'ttl=[0-9]*')" ttl=63

say "a redirected packet is a router older where it was routed, and only there"
hops() { # CLIENT SERVER ADDRESS FAMILY
        at_exec "$2" "$2" "$TOP/tests/tools/ttl.py" serve "$3" &
        local pid=$!
        eventually 5 listening_udp "$2" 7009
        mark
        at "$1" "$1" "$TOP/tests/tools/ttl.py" ask "$3" || fail "TTL of $1 to $2"
        assert_ge "packets" "$(since veth.packets_shortcut)" 50
        kill $pid
        wait $pid 2>/dev/null || true
}
assert_eq "bridged" "$(hops a b 10.88.1.2)" "64"
assert_eq "bridged, IPv6" "$(hops a b fd88:1::2)" "64"
assert_eq "routed" "$(hops r s 10.88.2.2)" "63"
assert_eq "routed, IPv6" "$(hops r s fd88:2::2)" "63"

say "a path MTU that shrinks under a connection is found out as before"
at_exec s s "$TOOLS/rr" --listen 10.88.2.2:7001 --size 4000 &
eventually 5 listening s 7001
at_exec r r "$TOOLS/rr" --connect 10.88.2.2:7001 --size 4000 --seconds $((3 * SLOW)) >"$SCRATCH/rr" &
client=$!
sleep 1
mark
# Of the route, in this direction alone: a device drops what is too large for it in the other one as well.
ip -n "meshcut-$ID-host" route replace 10.88.2.2 dev ves mtu lock 1300
wait $client || fail "rr with a smaller MTU"
say "$(cat "$SCRATCH/rr")"
assert_ge "too large" "$(since veth.passed.mtu)" 1
assert_ge "packets" "$(since veth.packets_shortcut)" "$(many 100)"
in_ns r ip route get 10.88.2.2 | grep -q 'mtu 1300' || fail "no path MTU: $(in_ns r ip route get 10.88.2.2)"

say "off is off, and nothing is left"
disable veth
assert_eq "VethShortcut" "$(property VethShortcut)" disabled
mark
at a a "$TOOLS/udp" --connect 10.88.1.2:7003 --seconds 0.2 >/dev/null 2>&1 || true
assert_eq "packets while off" "$(since veth.packets_shortcut)" 0
[[ -z $(bpftool net show dev vea 2>/dev/null | grep meshcut || true) ]] || fail "attached while off"
enable veth
attached vea veb
daemon_stop
[[ ! -e $SCRATCH/bpf/meshcut ]] || fail "pins after a stop: $(ls -R "$SCRATCH/bpf/meshcut")"
[[ -z $(in_ns host bpftool net | grep meshcut || true) ]] || fail "attached after a stop: $(in_ns host bpftool net)"
[[ -z $(in_ns host tc qdisc show | grep clsact || true) ]] || fail "a qdisc after a stop"
