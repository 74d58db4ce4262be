#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What is not bulk: while UDP and TCP between containers take the shortcut, everything else between the same containers says
# the same as without it, and takes the normal path.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

for tool in traceroute busybox; do
        command -v $tool >/dev/null || skip "no $tool"
done

host_add host
NS_DAEMON=host
host=meshcut-$ID-host
bridge_add host br0 1
for n in 1 2 3; do
        container_add host c$n 1 $n br0
done
container_add host r1 2 1
container_add host r2 2 2
# c3 has no address: it gets one by DHCP and one by router advertisements.
ip -n "meshcut-$ID-c3" addr flush dev eth0 scope global
in_ns c3 sysctl -qw net.ipv6.conf.eth0.accept_ra=2 net.ipv6.conf.eth0.dad_transmits=0 net.ipv6.conf.eth0.autoconf=1
in_ns c1 sysctl -qw net.ipv6.conf.eth0.accept_ra=0
in_ns c2 sysctl -qw net.ipv6.conf.eth0.accept_ra=0
# The host answers for what is elsewhere, as its neighbours ask; and it answers every question.
in_ns host sysctl -qw net.ipv4.conf.br0.proxy_arp=1 net.ipv4.neigh.br0.proxy_delay=0 \
        net.ipv6.conf.br0.proxy_ndp=1 net.ipv6.neigh.br0.proxy_delay=0 \
        net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 2>/dev/null || true
for n in c1 r1 r2; do
        in_ns $n sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
done
ip -n "$host" neigh add proxy fd88:2::2 dev br0

talk=$TOP/tests/tools/talk.py

udhcpd() { # NS ADDRESS
        : >"$SCRATCH/leases"
        cat >"$SCRATCH/udhcpd.conf" <<-EOT
		start 10.88.1.50
		end 10.88.1.50
		interface eth0
		lease_file $SCRATCH/leases
		pidfile $SCRATCH/udhcpd.pid
		option subnet 255.255.255.0
		option router 10.88.1.254
		option lease 600
	EOT
        at_exec "$1" "$1" busybox udhcpd -f -a 100 -I "$2" "$SCRATCH/udhcpd.conf" >/dev/null 2>&1 &
}
cat >"$SCRATCH/dhcp" <<-EOT
	#!/bin/sh
	case \$1 in
	bound|renew)
	        echo "DHCP: \$1 \$ip/\$mask router \$router lease \$lease" >>$SCRATCH/dhcp.log
	        ip addr replace "\$ip/\$mask" dev "\$interface"
	        ;;
	esac
EOT
chmod +x "$SCRATCH/dhcp"

for one in c2:10.88.1.2 c2:fd88:1::2 r2:10.88.2.2 r2:fd88:2::2; do
        at_exec "${one%%:*}" "${one%%:*}" "$talk" serve "${one#*:}" &
done
udhcpd c2 10.88.1.2
for n in c2 r2; do
        eventually 5 listening_udp $n 7011
done
listening_both() { # NS: in both families
        (($(in_ns "$1" ss -Hltn "sport = :7010" | wc -l) == 2))
}
eventually 5 listening_both c2
eventually 5 listening_both r2

# The hops, without times.
trace() { # NS ADDRESS OPTION...
        local ns=$1 address=$2
        shift 2
        echo "traceroute $*: $(in_ns "$ns" traceroute -n -q 1 -w 5 -m 4 -N 1 "$@" "$address" |
                sed '1d; s/  [0-9.]* ms//' | tr '\n' ' ')" | tr -s ' '
}

# What replies to a ping, without times.
ping_to() { # NS ADDRESS OPTION...
        local ns=$1
        shift
        in_ns "$ns" ping -c 2 -i 0.2 -W 5 "$@" | sed -n 's/ time=.*//p; s/^\([0-9]* packets.*loss\).*/\1/p'
}

# What is sent to groups and a broadcast address, and what another container gets that listens but did not join.
groups() { # ADDRESS...
        local one two
        at_exec c2 c2 "$talk" receive eth0 join "$@" >"$SCRATCH/joined" &
        one=$!
        at_exec c3 c3 "$talk" receive eth0 listen "$@" >"$SCRATCH/listening" &
        two=$!
        eventually 5 grep -q ready "$SCRATCH/joined"
        eventually 5 grep -q ready "$SCRATCH/listening"
        at c1 c1 "$talk" send eth0 20 "$@"
        sleep 0.2
        kill $one $two
        wait $one $two || true
        cat "$SCRATCH/joined" "$SCRATCH/listening"
}

dhcp() {
        local pid
        : >"$SCRATCH/dhcp.log"
        at_exec c3 c3 busybox udhcpc -f -i eth0 -t 20 -T 1 -s "$SCRATCH/dhcp" >/dev/null 2>&1 &
        pid=$!
        eventually 10 grep -q bound "$SCRATCH/dhcp.log" || echo "DHCP: nothing"
        kill -USR1 $pid
        eventually 10 grep -q renew "$SCRATCH/dhcp.log" || echo "DHCP: no renewal"
        cat "$SCRATCH/dhcp.log"
        kill $pid
        wait $pid || true
}

# More than once, since it comes to nothing while a link-local address is tentative at either end.
advertised() {
        in_ns host "$talk" advertise br0 fd88:3::
        sleep 0.1
        in_ns c3 ip -6 addr show dev eth0 scope global | grep -o 'inet6 fd88:3::[^ ]*'
}

# Everything, in words that are the same each time.
protocols() {
        ip -n "meshcut-$ID-c3" addr flush dev eth0 scope global
        echo "-- DHCP"
        dhcp
        echo "-- a router that advertises itself"
        eventually 10 advertised || echo none
        echo "-- ping, and fragments"
        ping_to c1 10.88.1.2
        ping_to r1 10.88.2.2 -s 4000
        ping_to c1 fd88:1::2 -s 4000
        ping_to r1 fd88:2::2
        echo "-- traceroute"
        trace c1 10.88.1.2 -U -p 7013
        trace c1 10.88.2.2 -T -p 7013
        trace r1 10.88.2.2 -p 7100
        trace r1 10.88.2.2 -U -p 7011 --sport=7014
        trace r1 10.88.2.2 -T -p 7013
        trace r1 10.88.2.2 -I
        trace r1 fd88:2::2 -6 -p 7100
        trace r1 fd88:2::2 -6 -T -p 7013
        trace c1 fd88:2::2 -6 -I
        echo "-- a packet of a running flow that expires"
        at r1 r1 "$talk" hops 1 10.88.2.2 fd88:2::2
        at c1 c1 "$talk" hops 1 10.88.2.2 10.88.1.2 # nobody is between it and the latter
        at r1 r1 "$talk" hops 2 10.88.2.2
        echo "-- packets of a running flow that are too large"
        ip -n "$host" route replace 10.88.2.2 dev ver2 mtu lock 1300
        ip -n "$host" route replace fd88:2::2 dev ver2 mtu lock 1300
        at r1 r1 "$talk" mtu 10.88.2.2 fd88:2::2
        ip -n "$host" route replace 10.88.2.2 dev ver2
        ip -n "$host" route replace fd88:2::2 dev ver2
        in_ns r1 ip route flush cache
        in_ns r1 ip -6 route flush cache
        echo "-- multicast and broadcast"
        groups 239.1.2.3 ff15::77 10.88.1.255
        echo "-- proxies of ARP and ND"
        ip -n "meshcut-$ID-c1" route add 10.88.2.2 dev eth0
        ip -n "meshcut-$ID-c1" route add fd88:2::2 dev eth0
        at c1 c1 "$talk" hops 2 10.88.2.2 fd88:2::2
        in_ns c1 ip neigh show 10.88.2.2 | grep -o 'lladdr.*' | cut -d' ' -f1,2
        in_ns c1 ip neigh show fd88:2::2 | grep -o 'lladdr.*' | cut -d' ' -f1,2
        ip -n "meshcut-$ID-c1" route del 10.88.2.2 dev eth0
        ip -n "meshcut-$ID-c1" route del fd88:2::2 dev eth0
        echo "-- neighbours that are forgotten"
        for _ in 1 2 3 4 5; do
                for n in c1 c2 r1 r2 host; do
                        in_ns $n ip neigh flush all
                done
                sleep 0.1
        done
}

FLOWS=()
flow() { # CLIENT ADDRESS
        at_exec "$1" "$1" "$talk" flow "$2" >"$SCRATCH/flow-${#FLOWS[@]}" 2>&1 &
        FLOWS+=($!)
}
flows_start() {
        FLOWS=()
        flow c1 10.88.1.2
        flow c1 fd88:1::2
        flow r1 10.88.2.2
        flow r1 fd88:2::2
}
flows_stop() {
        local i
        kill "${FLOWS[@]}"
        wait "${FLOWS[@]}" || true
        for i in "${!FLOWS[@]}"; do
                say "flow $i: $(cat "$SCRATCH/flow-$i")"
                # What waits for a neighbour that is forgotten once more is lost: one by each time at most.
                assert_le "flow $i, datagrams lost" "$(sed 's/^udp lost=\([0-9]*\) .*/\1/' "$SCRATCH/flow-$i")" 5
                assert_eq "flow $i, connections lost" "$(field lost <<<"$(sed 's/.* tcp //' "$SCRATCH/flow-$i")")" 0
        done
}

# moved: what each veth's packets got of the shortcut, "NAME PACKETS" a line.
moved() {
        local name
        for name in vec1 vec2 ver1 ver2; do
                echo "$name $(veth $name PacketsShortcut)"
        done
}

say "the shortcut off"
configure_veth direct
daemon_start_veth
attached vec1 vec2 vec3 ver1 ver2
disable veth
mark
flows_start
(set +e; protocols) >"$SCRATCH/off" 2>&1
flows_stop
assert_eq "packets" "$(since veth.packets_shortcut)" 0
sed 's/^/      /' "$SCRATCH/off" >&2
# Both could say the same and be wrong. What it has to be, where that is not for the kernel to choose:
for line in 'DHCP: renew 10.88.1.50/24 router 10.88.1.254 lease 600' 'inet6 fd88:3::' \
        '2 packets transmitted, 2 received' 'traceroute -U -p 7013: 1 10.88.1.2 ' \
        'traceroute -U -p 7011 --sport=7014: 1 169.254.1.1 2 10.88.2.2 ' 'traceroute -T -p 7013: 1 169.254.1.1 2 10.88.2.2 ' \
        'traceroute -6 -p 7100: 1 fd88:1::fe 2 fd88:2::2 ' 'traceroute -6 -T -p 7013: 1 fd88:1::fe 2 fd88:2::2 ' \
        'TTL 1 EHOSTUNREACH EHOSTUNREACH type 11 code 0 of 169.254.1.1' 'TTL 1 answered' 'TTL 2 answered' 'EMSGSIZE 1300' \
        'join 239.1.2.3 20 in order' 'listen 239.1.2.3 0 in order' 'join ff15::77 20 in order' 'listen ff15::77 0 in order' \
        'join 10.88.1.255 20 in order' 'listen 10.88.1.255 20 in order' 'lladdr '; do
        grep -qF -- "$line" "$SCRATCH/off" || fail "nothing says '$line'"
done
! grep -E 'no answer|none|nothing|lost$|Error|Traceback| 100% packet loss' "$SCRATCH/off" || fail "without the shortcut"

say "the shortcut on"
enable veth
attached vec1 vec2 vec3 ver1 ver2
moved >"$SCRATCH/moved-before"
flows_start
at_exec kinds - "$TOP/tests/tools/kinds.py" "c1:$host:vec1:meshcut-$ID-c1:eth0" "c2:$host:vec2:meshcut-$ID-c2:eth0" \
        "c3:$host:vec3:meshcut-$ID-c3:eth0" "r1:$host:ver1:meshcut-$ID-r1:eth0" "r2:$host:ver2:meshcut-$ID-r2:eth0" \
        >"$SCRATCH/kinds" 2>&1 &
kinds=$!
eventually 20 grep -q ready "$SCRATCH/kinds" || fail "kinds.py: $(cat "$SCRATCH/kinds")"
mark
(set +e; protocols) >"$SCRATCH/on" 2>&1
kill $kinds
wait $kinds || fail "kinds.py: $(cat "$SCRATCH/kinds")"
flows_stop
moved >"$SCRATCH/moved-after"
diff "$SCRATCH/off" "$SCRATCH/on" >&2 || fail "not the same as without the shortcut"

# Each round of a flow is a datagram and a segment to either side, so by UDP alone it would be one.
asked() { cat "$SCRATCH/flow-$1" "$SCRATCH/flow-$2" | awk -F= '{ n += $NF } END { print n }'; }
while read -r name before after; do
        case $name in
        vec*) rounds=$(asked 0 1) ;;
        *) rounds=$(asked 2 3) ;;
        esac
        assert_ge "packets by $name of $rounds datagrams and $rounds segments" $((after - before)) $((rounds * 3 / 2))
done < <(paste -d' ' "$SCRATCH/moved-before" "$SCRATCH/moved-after" | cut -d' ' -f1,2,4)
# Those that belong to a flow which has a lease: they are the ones that could go wrong.
assert_ge "packets that expire" "$(since veth.passed.ttl)" 3
assert_ge "packets that are too large" "$(since veth.passed.mtu)" 2
assert_ge "SYN, FIN and RST" "$(since veth.passed.control)" 8
assert_ge "fragments" "$(since veth.passed.fragment)" 24
assert_ge "multicast and broadcast" "$(since veth.passed.multicast)" 60
assert_ge "ICMP, ARP, ND" "$(since veth.passed.protocol)" 40

say "each of them came by the host's end of the veth, where nothing comes by that was moved"
say "$(cat "$SCRATCH/kinds")"
for kind in "c1 echo" "c1 arp" "c1 nd" "c1 icmp-error" "c2 dhcp" "c2 multicast" "c2 echo" "c2 fragment" "c3 dhcp" "c3 nd" \
        "r1 icmp-error" "r1 tcp" "r2 echo" "r2 udp" "r2 tcp" "r2 fragment" "r2 arp" "r2 nd"; do
        grep -q "^$kind " "$SCRATCH/kinds" || fail "no $kind was seen"
done
while read -r name kind sent arrived; do
        [[ $kind == watched || $sent == "$arrived" ]] || fail "$kind to $name: $arrived arrived, $sent of them by the normal path"
done < <(sed 1d "$SCRATCH/kinds")
# And that this can be seen at all:
while read -r name sent arrived; do
        assert_le "watched flow to $name: of $arrived packets by the normal path" "$sent" $((arrived / 2))
        watched=1
done < <(awk '$2 == "watched" { print $1, $3, $4 }' "$SCRATCH/kinds")
[[ ${watched:-} ]] || fail "no watched flow was seen"

say "addresses that came by DHCP and by autoconfiguration"
eventually 5 grep -q '^10.88.1.50 fd88:3::' <(veth vec3 Addresses) || fail "addresses of vec3: $(veth vec3 Addresses)"
mark
at c3 c3 "$talk" hops 64 10.88.1.2 >/dev/null
assert_ge "packets of an address from DHCP" "$(since veth.packets_shortcut)" 50
