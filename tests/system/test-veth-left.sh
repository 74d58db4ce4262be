#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Devices that the veth shortcut has to leave alone, and packets that it must not move: somebody else's programs, devices of
# other kinds, VLANs, isolation, policy routing, rp_filter, an address that two containers claim.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

host_add host
NS_DAEMON=host
host=meshcut-$ID-host
bridge_add host br0 1
for n in 1 2 3; do
        container_add host c$n 1 $n br0
done
container_add host r1 2 1
container_add host r2 2 2
configure_veth direct 'Interfaces=ve* mac0 tap0 br9 lo kit0' 'ExcludeInterfaces=vex*'

left() { # NAME PATTERN: left for that reason
        eventually 5 left_now "$@" || fail "$1: $(veth "$1" State): $(veth "$1" Reason), expected left: $2"
        say "$1: left: $(veth "$1" Reason)"
}
left_now() { [[ $(veth "$1" State) == left ]] && grep -qE "$2" <<<"$(veth "$1" Reason)"; }

# flows FROM TO ADDRESS: packets that were shortcut in a short while of UDP; "broken" if none got through.
flows() {
        local pid out
        at_exec "$2" "$2" "$TOOLS/udp" --listen "$3:7003" &
        pid=$!
        eventually 5 listening_udp "$2" 7003
        mark
        if out=$(at "$1" "$1" "$TOOLS/udp" --connect "$3:7003" --seconds "$(calc "0.5 * $SLOW")" 2>&1); then
                since veth.packets_shortcut
        else
                say "$1 to $2: $out"
                echo broken
        fi
        kill $pid
        wait $pid 2>/dev/null || true
}
shortcut() { assert_ge "$1 to $2, packets" "$(flows "$@")" "$(many 1000)"; }
normal() { assert_eq "$1 to $2, packets" "$(flows "$@")" 0; }
broken() { assert_eq "$1 to $2" "$(flows "$@")" broken; }

say "other kinds of devices"
ip -n "$host" link add br9 type bridge
ip -n "$host" link add mac0 link br9 type macvlan
ip -n "$host" tuntap add tap0 mode tap
# Its peer is made with it, under a name of the kernel's choice (nk0), and goes into a container as a veth's does.
netkit=$(ip -n "$host" link add kit0 type netkit 2>/dev/null && ip -n "$host" -j link show kit0 | jq -r '.[0].link') || missing netkit
[[ -z $netkit ]] || ip -n "$host" link set "$netkit" netns "meshcut-$ID-r1"
ip -n "$host" link add vein type veth peer name veout
ip -n "$host" link add vexcluded type veth peer name eth9 netns "meshcut-$ID-r1"
ip -n "$host" link add other0 type veth peer name eth8 netns "meshcut-$ID-r1"
ip -n "$host" link set vein up
in_ns host tc qdisc add dev ver2 root tbf rate 100mbit burst 10k latency 50ms
daemon_start_veth
attached vec1 vec2 vec3 ver1
left mac0 macvlan
left tap0 'not a veth but a tun'
left br9 'not a veth but a bridge'
left lo 'hardware or loopback'
[[ -z $netkit ]] || left kit0 'not a veth but a netkit'
left vein "host's own network namespace"
left vexcluded ExcludeInterfaces
left other0 'neither Interfaces= nor Uplinks='
left ver2 'qdisc tbf'
normal r1 r2 10.88.2.2
in_ns host tc qdisc del dev ver2 root
attached ver2
shortcut r1 r2 10.88.2.2

say "the peer in a namespace of another user's"
if setpriv --reuid nobody --regid nogroup --clear-groups unshare -Ur true 2>/dev/null; then
        setpriv --reuid nobody --regid nogroup --clear-groups unshare -Urn sleep 1000 &
        sleeper=$!
        in_another_ns() { [[ $(readlink "/proc/$sleeper/ns/net") != "$(readlink /proc/self/ns/net)" ]]; }
        eventually 5 in_another_ns || fail "no namespace of an ordinary user"
        ip -n "$host" link add veuser type veth peer name eth0 netns "$sleeper"
        ip -n "$host" link set veuser up
        attached veuser
        kill $sleeper
        wait $sleeper 2>/dev/null || true
else
        missing user-namespaces
fi

say "somebody else's filters: untouched, and taken in when they are gone"
# Without tcx our own programs need such a qdisc, and are there already.
[[ $(veth vec1 Hook) == clsact ]] || in_ns host tc qdisc add dev vec1 clsact
"$TOOLS/tcx" pin "$SCRATCH/bpf/somebody"
in_ns host tc filter add dev vec1 ingress prio 7 bpf da object-pinned "$SCRATCH/bpf/somebody"
left vec1 "somebody else's tc filter of kind bpf"
[[ -n $(in_ns host tc filter show dev vec1 ingress) ]] || fail "the filter is gone"
normal c1 c2 10.88.1.2
in_ns host tc filter del dev vec1 ingress prio 7
rm "$SCRATCH/bpf/somebody"
attached vec1
shortcut c1 c2 10.88.1.2
in_ns host tc qdisc show dev vec1 | grep -q clsact || fail "somebody else's qdisc was removed"

at_exec tcx host "$TOOLS/tcx" vec1 egress >"$SCRATCH/tcx" &
tcx=$!
attached_or_gone() { [[ -s $SCRATCH/tcx ]] || ! kill -0 $tcx 2>/dev/null; }
eventually 10 attached_or_gone
if [[ -s $SCRATCH/tcx ]]; then
        eventually 15 left_now vec1 "somebody else's tcx program" || fail "vec1: $(veth vec1 State): $(veth vec1 Reason)"
        assert_eq "tcx programs" "$(in_ns host bpftool -j net show dev vec1 | grep -c meshcut || true)" 0
        kill -0 $tcx || fail "somebody else's program is gone"
        normal c1 c2 10.88.1.2
        kill $tcx
        wait $tcx 2>/dev/null || true
        attached vec1
        shortcut c1 c2 10.88.1.2
else
        wait $tcx || [[ $? == 77 ]] || fail "tcx"
        missing tcx
fi

say "isolated ports, VLANs"
shortcut c1 c2 10.88.1.2
in_ns host bridge link set dev vec1 isolated on
in_ns host bridge link set dev vec2 isolated on
broken c1 c2 10.88.1.2
shortcut c1 c3 10.88.1.3
in_ns host bridge link set dev vec1 isolated off
in_ns host bridge link set dev vec2 isolated off
shortcut c1 c2 10.88.1.2
if ip -n "$host" link set br0 type bridge vlan_filtering 1 2>/dev/null; then
        shortcut c1 c2 10.88.1.2
        in_ns host bridge vlan del dev vec2 vid 1
        in_ns host bridge vlan add dev vec2 vid 9 pvid untagged
        broken c1 c2 10.88.1.2
        in_ns host bridge vlan add dev vec1 vid 9 pvid untagged
        shortcut c1 c2 10.88.1.2
        ip -n "$host" link set br0 type bridge vlan_filtering 0
else
        missing vlan-filtering
fi

say "policy routing, rp_filter"
shortcut r1 r2 10.88.2.2
ip -n "$host" rule add iif ver1 to 10.88.2.2 unreachable
broken r1 r2 10.88.2.2
ip -n "$host" rule del iif ver1 to 10.88.2.2 unreachable
shortcut r1 r2 10.88.2.2
in_ns host sysctl -qw net.ipv4.conf.ver1.rp_filter=1
ip -n "$host" route replace 10.88.2.1 dev ver2
broken r1 r2 10.88.2.2
ip -n "$host" route replace 10.88.2.1 dev ver1
shortcut r1 r2 10.88.2.2

say "an address that two containers claim"
ip -n "meshcut-$ID-c3" addr add 10.88.1.2/24 dev eth0
conflict() { grep -q '10.88.1.2 is also at vec3' <<<"$(veth vec2 Reason)"; }
eventually 5 conflict || fail "vec2: $(veth vec2 Reason)"
assert_eq "State" "$(veth vec2 State)" attached
# Who answers is the bridge's and ARP's business, but none of them by the shortcut.
at_exec c2 c2 "$TOOLS/udp" --listen 10.88.1.2:7003 &
one=$!
at_exec c3 c3 "$TOOLS/udp" --listen 10.88.1.2:7003 &
two=$!
eventually 5 listening_udp c2 7003
eventually 5 listening_udp c3 7003
mark
at c1 c1 "$TOOLS/udp" --connect 10.88.1.2:7003 --seconds 0.5 >/dev/null || fail "the normal path"
assert_eq "packets to an address of two" "$(since veth.packets_shortcut)" 0
kill $one $two
wait $one $two 2>/dev/null || true
grep -q 'is also at vec3' "$SCRATCH/daemon.log" || fail "the log says nothing of the conflict"
ip -n "meshcut-$ID-c3" addr del 10.88.1.2/24 dev eth0
veth_free() { [[ -z $(veth vec2 Reason) ]]; }
eventually 5 veth_free || fail "vec2: $(veth vec2 Reason)"
shortcut c1 c2 10.88.1.2

say "a source address that is not the container's own"
ip -n "meshcut-$ID-c3" addr add 10.88.9.9/32 dev lo
ip -n "meshcut-$ID-c2" route add 10.88.9.9 via 10.88.1.3
at_exec c2 c2 "$TOOLS/udp" --listen 10.88.1.2:7003 &
one=$!
eventually 5 listening_udp c2 7003
ip -n "meshcut-$ID-c3" route add 10.88.1.2/32 dev eth0 src 10.88.9.9
mark
at c3 c3 "$TOOLS/udp" --connect 10.88.1.2:7003 --seconds 0.5 >&2 || fail "the normal path"
assert_eq "packets" "$(since veth.packets_shortcut)" 0
kill $one
wait $one 2>/dev/null || true
