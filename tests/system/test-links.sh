#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What the service knows of devices: those of its own network namespace (here one of the test's, "host"), and the other ends of
# its veths, wherever they are and go.
. "$(dirname "$0")/lib.sh"

[[ -x $TOOLS/links ]] || skip "$TOOLS/links is not built"

LINKS=
OUT=$SCRATCH/links.out

links_start() { # OPTION...
        at_exec infra host "$TOOLS/links" "$@" >"$OUT" 2>"$SCRATCH/links.err" &
        LINKS=$!
        eventually 5 grep -q '^end' "$OUT" || fail "no table: $(cat "$SCRATCH/links.err")"
}

links_stop() {
        local pid=$LINKS
        LINKS=
        kill -TERM "$pid"
        wait "$pid" || fail "links ends with $?: $(cat "$SCRATCH/links.err")"
}

# The last complete table.
table() { awk '{ rest = rest $0 "\n" } /^end/ { table = rest; rest = "" } END { printf "%s", table }' "$OUT"; }
entry() { table | grep " name=$1 "; } # NAME
state() { table | tail -n 1 | field "$1"; } # NAME
# is NAME FIELD VALUE: the device is in the table, with this.
is() {
        local line
        line=$(entry "$1") || return 1
        [[ $(field "$2" <<<"$line") == "$3" ]]
}
becomes() { # NAME FIELD VALUE
        eventually 2 is "$@" || fail "$1: $2 is not $3: $(entry "$1" || echo "there is none")"
        say "$1: $2 is ${3:-empty}"
}
gone() { ! entry "$1" >/dev/null; }

n() { echo "meshcut-$ID-$1"; }
host() { ip -n "$(n host)" "$@"; }
link() { jq -r "$3" < <(ip -n "$(n "$1")" -j link show "$2") | head -n 1; } # NS DEVICE FILTER
mac() { link "$1" "$2" '.[0].address'; }

ns_add host a b c
host link add va type veth peer name eth0 netns "$(n a)"
host link set va up
ip -n "$(n a)" addr add 10.1.0.2/24 dev eth0
ip -n "$(n a)" addr add fd01::2/64 dev eth0 nodad
ip -n "$(n a)" link set eth0 up
host addr add 10.1.0.1/24 dev va
# Not of one host alone: the device's name and the ids say nothing.
ip -n "$(n b)" link add eth0 type veth peer name vb netns "$(n host)"
ip -n "$(n b)" addr add 10.1.0.2/24 dev eth0

# ---- at first ----

out=$(in_ns host "$TOOLS/links" --once)
assert_eq "devices" "$(grep -c '^link' <<<"$out")" 3
line=$(grep ' name=va ' <<<"$out")
assert_eq "addresses of the other end" "$(field addresses <<<"$line")" 10.1.0.2,fd01::2
assert_eq "MAC of the other end" "$(field peer-mac <<<"$line")" "$(mac a eth0)"
assert_eq "MAC" "$(field mac <<<"$line")" "$(mac host va)"
assert_eq "addresses at the end of another" "$(grep ' name=vb ' <<<"$out" | field addresses)" 10.1.0.2

links_start
becomes va peer-name eth0
becomes va kind veth
becomes lo addresses ''

# ---- addresses ----

eth0() { ip -n "$(n a)" "$@" dev eth0; }
eth0 addr add 10.1.0.3/24
becomes va addresses 10.1.0.2,10.1.0.3,fd01::2
# The same address twice, and gone twice.
eth0 addr add 10.1.0.3/32
eth0 addr del 10.1.0.3/24
eth0 addr add 10.1.0.4/32
becomes va addresses 10.1.0.2,10.1.0.3,10.1.0.4,fd01::2
eth0 addr del 10.1.0.3/32
becomes va addresses 10.1.0.2,10.1.0.4,fd01::2
eth0 addr del 10.1.0.4/32
# Two far ends of one address. (The kernel takes both for an address of the device itself.)
eth0 addr add 10.2.0.1 peer 10.2.0.2/32
eth0 addr add 10.2.0.1 peer 10.2.0.3/32
becomes va addresses 10.1.0.2,10.2.0.1,fd01::2
eth0 addr del 10.2.0.1 peer 10.2.0.2/32
eth0 addr add fd02::1 peer fd02::2/128 nodad
becomes va addresses 10.1.0.2,10.2.0.1,fd01::2,fd02::1
eth0 addr del 10.2.0.1 peer 10.2.0.3/32
eth0 addr del fd02::1 peer fd02::2/128
becomes va addresses 10.1.0.2,fd01::2
# 169.254/16 is used, the rest of what is local is not.
eth0 addr add 169.254.7.7/16
eth0 addr add 127.5.5.5/32
eth0 addr add ::ffff:10.1.0.9/128 2>/dev/null || true # might be taken for IPv4
becomes va addresses 10.1.0.2,169.254.7.7,fd01::2
eth0 addr del 169.254.7.7/16
# An address that nobody has answered for yet, and one that somebody else has.
becomes va addresses 10.1.0.2,fd01::2
host link set va down
eth0 addr add fd01::3/64
sleep 0.5
is va addresses 10.1.0.2,fd01::2 || fail "a tentative address is taken in: $(entry va)"
host link set va up
eventually 6 is va addresses 10.1.0.2,fd01::2,fd01::3 || fail "an address that is not tentative any more: $(entry va)"
host addr add fd01::5/64 dev va nodad
eth0 addr add fd01::5/64
dadfailed() { eth0 addr show | grep -q dadfailed; }
eventually 5 dadfailed || fail "the same IPv6 address twice is not noticed"
sleep 0.2
becomes va addresses 10.1.0.2,fd01::2,fd01::3
eth0 addr del fd01::3/64
# The host's own, for what leads nowhere else.
host link add vx type vxlan id 7 dstport 4789
host addr add 10.3.0.1/24 dev vx
becomes vx addresses 10.3.0.1
becomes vx kind vxlan

# ---- other changes of the other end ----

eth0 link set address 02:00:00:00:00:77
becomes va peer-mac 02:00:00:00:00:77
eth0 link set mtu 1400
becomes va peer-mtu 1400
host link set va mtu 1300
becomes va mtu 1300
# Older kernels give no other name to a device that is up.
becomes va peer-up yes
eth0 link set down
becomes va peer-up no
eth0 link set name renamed
becomes va peer-name renamed
host link set va down
host link set va name other
eventually 2 gone va || fail "va is still there"
becomes other peer-name renamed
host link set other name va
host link set va up
host addr add fd01::5/64 dev va nodad # the kernel took it away

# ---- the other end moves: of that the host's end says nothing ----

ip -n "$(n a)" link set renamed name eth0
ip -n "$(n a)" link set eth0 netns "$(n c)"
ip -n "$(n c)" addr add 10.4.0.2/24 dev eth0
becomes va addresses 10.4.0.2
becomes va peer "$(link c eth0 '.[0].ifindex')"
# Where the number is taken, it gets another one.
ip -n "$(n c)" link set eth0 netns "$(n b)" name eth1
ip -n "$(n b)" addr add 10.4.0.3/24 dev eth1
becomes va addresses 10.4.0.3
becomes va peer "$(link b eth1 '.[0].ifindex')"
becomes vb addresses 10.1.0.2
# Into the host, and out again.
ip -n "$(n b)" link set eth1 netns "$(n host)"
becomes va nsid -1
becomes va peer-name ''
becomes va addresses 10.1.0.1,fd01::5
becomes eth1 nsid -1
host link set eth1 netns "$(n a)" name eth0
eventually 2 gone eth1 || fail "eth1 is still there"
becomes va peer-name eth0
becomes va addresses ''
# Both ends in the host.
host link add l0 type veth peer name l1
becomes l0 iflink "$(link host l1 '.[0].ifindex')"
becomes l1 iflink "$(link host l0 '.[0].ifindex')"
becomes l1 nsid -1

# ---- a namespace goes, and its id comes back ----

nsid=$(entry vb | field nsid)
ip netns del "$(n b)"
eventually 5 gone vb || fail "vb is still there"
ns_add d
host link add vd type veth peer name eth0 netns "$(n d)"
ip -n "$(n d)" addr add 10.5.0.2/24 dev eth0
becomes vd nsid "$nsid"
becomes vd addresses 10.5.0.2
host link del vd
eventually 2 gone vd || fail "vd is still there"
# All at once, so that the events of one wait while the next is asked about.
for i in 1 2 3 4 5; do
        ns_add "r$i"
        host link add vr type veth peer name eth0 netns "$(n "r$i")"
        ip -n "$(n "r$i")" addr add "10.6.0.$i/24" dev eth0
        ((i == 5)) || ip netns del "$(n "r$i")"
        ((i == 5)) || eventually 5 sh -c "! ip -n '$(n host)' link show vr >/dev/null 2>&1"
done
becomes vr addresses 10.6.0.5

# ---- a namespace of an ordinary user ----

at_exec infra - setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urn sleep 1000 &
user=$!
in_user() { nsenter --target "$user" --net "$@"; }
in_another_ns() { [[ $(readlink "/proc/$user/ns/net") != "$(readlink /proc/self/ns/net)" ]]; }
eventually 5 in_another_ns || fail "no namespace of an ordinary user"
host link add vu type veth peer name eth0 netns "$user"
becomes vu peer-name eth0
in_user ip addr add 10.7.0.2/24 dev eth0
becomes vu addresses 10.7.0.2
in_user ip addr add 10.7.0.3/24 dev eth0
becomes vu addresses 10.7.0.2,10.7.0.3

# A service without power over other namespaces says so, and knows the rest.
out=$(in_ns host setpriv --bounding-set -net_admin "$TOOLS/links" --once)
assert_eq "without CAP_NET_ADMIN" "$(grep ' name=va ' <<<"$out" | field error)" EPERM
assert_eq "its own address" "$(grep ' name=vx ' <<<"$out" | field addresses)" 10.3.0.1
assert_fails "without CAP_NET_BROADCAST" 'not permitted' in_ns host setpriv --bounding-set -net_broadcast "$TOOLS/links" --once

kill "$user"
eventually 5 gone vu || fail "vu is still there"

# ---- kinds, bridge ports, idleness ----

host link add br0 type bridge
host link add mv0 link va type macvlan
host tuntap add tap0 mode tap
becomes br0 kind bridge
becomes mv0 kind macvlan
becomes tap0 kind tun
if host link add dm0 type dummy 2>/dev/null; then
        becomes dm0 kind dummy
fi
host link set vr master br0
host link set br0 up
host link set vr up
ip -n "$(n r5)" link set eth0 up
becomes vr master "$(link host br0 '.[0].ifindex')"
becomes br0 vlan ''
vlans=0
if host link set br0 type bridge vlan_filtering 1 2>/dev/null; then
        vlans=1
        becomes br0 vlan 8100
fi
eventually 5 sh -c "ip -n '$(n host)' -d link show vr | grep -q 'state forwarding'" || fail "the port does not forward"

# quiet: nothing is refreshed for two seconds.
quiet() {
        local before
        before=$(state refreshes)
        sleep 2
        [[ $(state refreshes) == "$before" ]]
}
eventually 10 quiet || fail "always something to refresh"

bumps() { # WHAT CMD...
        local what=$1 before
        before=$(state revision)
        shift
        "$@"
        sleep 0.5
        assert_ge "revision after $what" "$(state revision)" $((before + 1))
}
bumps "isolation" in_ns host bridge link set dev vr isolated on
bumps "another state" in_ns host bridge link set dev vr state 4
((vlans == 0)) || bumps "a VLAN" in_ns host bridge vlan add dev vr vid 7
# Leaving is an event of the bridge, not the end of the device.
bumps "leaving" host link set vr nomaster
becomes vr master 0
becomes vr addresses 10.6.0.5

before=$(state refreshes)
host link set mv0 alias whatever
ip -n "$(n a)" link set eth0 alias whatever
sleep 0.3
assert_eq "refreshes by events that change nothing" "$(state refreshes)" "$before"
ticks() { awk '{ print $14 + $15 }' "/proc/$LINKS/stat"; }
before=$(ticks)
sleep 2
assert_eq "ticks of CPU at rest" "$(ticks)" "$before"

# ---- filters, qdiscs, XDP ----

filters() { in_ns host "$TOOLS/links" --filters "$(link host "$1" '.[0].ifindex')"; }
filters_bump() { # WHAT CMD...
        local what=$1 before
        before=$(state filters)
        shift
        "$@"
        sleep 0.3
        assert_ge "filter revision after $what" "$(state filters)" $((before + 1))
}
program() { python3 "$TOP/tests/tools/pin-program.py" "$1" "$SCRATCH/bpf/$1"; } # TYPE; its id
id=$(program sched_cls)

assert_eq "filters of a device without any" "$(filters va)" ''
filters_bump "a qdisc" in_ns host tc qdisc add dev va clsact
assert_eq "filters of a qdisc without any" "$(filters va)" ''
filters_bump "a filter" in_ns host tc filter add dev va egress prio 7 bpf da pinned "$SCRATCH/bpf/sched_cls"
in_ns host tc filter add dev va ingress prio 9 u32 match u32 0 0
assert_eq "BPF filters" "$(filters va | grep kind=bpf)" "filter=egress kind=bpf program=$id handle=1 priority=7"
assert_eq "others" "$(filters va | grep -c '^filter=ingress kind=u32 program=0 .* priority=9')" "$(filters va | grep -c u32)"
filters_bump "its removal" in_ns host tc filter del dev va egress prio 7
assert_eq "BPF filters" "$(filters va | grep -c kind=bpf || true)" 0
filters_bump "the removal of the qdisc" in_ns host tc qdisc del dev va clsact
assert_eq "filters without the qdisc" "$(filters va)" ''
in_ns host tc qdisc add dev va ingress
in_ns host tc filter add dev va ingress bpf da pinned "$SCRATCH/bpf/sched_cls"
assert_eq "filters of an ingress qdisc" "$(filters va | wc -l)" 1
assert_eq "filters of no device" "$(in_ns host "$TOOLS/links" --filters 99999)" ''
# To ask is not to change: whoever asks again after each change would do so for ever.
eventually 5 quiet || fail "always something to refresh"
before=$(state filters)
filters va >/dev/null
sleep 0.3
assert_eq "filter revision after a question" "$(state filters)" "$before"
in_ns host tc qdisc replace dev va root pfifo limit 100
becomes va qdisc pfifo

program xdp >/dev/null
in_ns host ip link set dev va xdpgeneric pinned "$SCRATCH/bpf/xdp"
sleep 0.2
becomes va xdp ''
in_ns host ip link set dev va xdpgeneric off
host link set va mtu 1500
in_ns host ip link set dev va xdpdrv pinned "$SCRATCH/bpf/xdp"
becomes va xdp yes
in_ns host ip link set dev va xdp off
becomes va xdp ''
links_stop
