#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Mode=established beside a firewall: only what conntrack holds as established takes the shortcut, NAT is left alone, a rule
# that comes later bites, and conntrack's entries live and end as without the service.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

[[ -e /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal ]] || skip "no conntrack"

host_add host
NS_DAEMON=host
container_add host a 3 1
container_add host b 3 2
bridge_add host br0 4
container_add host c 4 1 br0
container_add host d 4 2 br0
configure_veth established

ipt() { in_ns host iptables -w "$@"; }

say "without be_liberal"
in_ns host sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0
daemon_start || fail "the daemon does not start"
assert_eq "VethShortcut" "$(property VethShortcut)" refused
property VethShortcutReason | grep -q nf_conntrack_tcp_be_liberal || fail "reason: $(property VethShortcutReason)"
assert_fails "Enable" 'nf_conntrack_tcp_be_liberal' bus_call Enable as 1 veth
in_ns host sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1
reload
assert_eq "VethShortcut with be_liberal" "$(property VethShortcut)" active
attached vea veb vec ved

server() { # NS ADDRESS:PORT: in $SERVER
        at_exec "$1" "$1" "$TOOLS/rr" --listen "$2" >"$SCRATCH/server-$1" 2>&1 &
        SERVER=$!
        eventually 5 listening "$1" "${2##*:}"
}
udp_server() {
        at_exec "$1" "$1" "$TOOLS/udp" --listen "$2" &
        SERVER=$!
        eventually 5 listening_udp "$1" "${2##*:}"
}
server_stop() {
        kill "$SERVER" 2>/dev/null || true # it ends by itself when a client is killed
        wait "$SERVER" 2>/dev/null || true
}

say "without any rule conntrack does not track"
server b 10.88.3.2:7001
mark
at a a "$TOOLS/rr" --connect 10.88.3.2:7001 --seconds 0.3 >&2
assert_eq "packets" "$(since veth.packets_shortcut)" 0
assert_ge "untracked" "$(since veth.passed.untracked)" "$(many 100)"

say "a stateful firewall"
ipt -A FORWARD -m conntrack --ctstate INVALID -j DROP
ipt -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
ipt -A FORWARD -p tcp --dport 7001 -j ACCEPT
ipt -A FORWARD -p udp -j ACCEPT
ipt -A FORWARD -j DROP
mark
at a a "$TOOLS/rr" --connect 10.88.3.2:7001 --seconds 1 >&2
assert_ge "packets" "$(since veth.packets_shortcut)" "$(many 5000)"
assert_le "unassured" "$(since veth.passed.unassured)" 20
server_stop
server b 10.88.3.2:7002
mark
assert_fails "a port that is dropped" 'connect|timed out|Terminated|' timeout 3 nsenter --net="/run/netns/meshcut-$ID-a" \
        "$TOOLS/rr" --connect 10.88.3.2:7002 --seconds 0.3
assert_eq "packets to a port that is dropped" "$(since veth.packets_shortcut)" 0
server_stop

say "closes are seen: nothing stays but entries on their way out"
states() { in_ns host conntrack -L -p tcp 2>/dev/null | awk '{ print $4 }' | sort | uniq -c; }
[[ $(states) != *ESTABLISHED* ]] || fail "entries of closed connections: $(states)"
say "$(states)"

say "UDP, once conntrack has it as assured"
udp_server b 10.88.3.2:7003
mark
out=$(at a a "$TOOLS/udp" --connect 10.88.3.2:7003 --seconds 4) || fail "UDP: $out"
say "$out"
assert_eq "UDP lost" "$(field lost <<<"$out")" 0
assert_ge "packets" "$(since veth.packets_shortcut)" "$(field count <<<"$out" | awk '{ print int($1 / 2) }')"
assert_ge "unassured" "$(since veth.passed.unassured)" "$(many 100)"
server_stop

say "a connection outlives conntrack's timeout"
in_ns host sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=3
server b 10.88.3.2:7001
mark
at a a "$TOOLS/rr" --connect 10.88.3.2:7001 --seconds 7 >&2 || fail "the connection broke"
assert_ge "packets" "$(since veth.packets_shortcut)" "$(many 20000)"
# Each direction of the flow shows itself about once a second, and not much more often.
assert_ge "packets on the normal path" "$(since veth.passed.interval)" 10
assert_le "packets on the normal path" "$(since veth.passed.interval)" 2000
in_ns host sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=432000

say "a rule that comes later bites within a second or two"
at_exec a a "$TOOLS/rr" --connect 10.88.3.2:7001 --seconds $((30 * SLOW)) >"$SCRATCH/late" 2>&1 &
client=$!
sleep 1
ipt -I FORWARD -p tcp --dport 7001 -j DROP
sleep 2
mark
sleep 1
assert_eq "packets behind a new DROP rule" "$(since veth.packets_shortcut)" 0
ipt -D FORWARD 1
mark
# TCP sends again when it has waited twice as long as the last time.
recovered() { (($(since veth.packets_shortcut) >= $(many 1000))); }
eventually 8 recovered || fail "packets when the rule is gone: $(since veth.packets_shortcut)"
kill $client
wait $client 2>/dev/null || true
server_stop

say "NAT: works, and is left alone"
ipt -t nat -A PREROUTING -p tcp -d 10.99.0.1 --dport 80 -j DNAT --to-destination 10.88.3.2:7001
ipt -t nat -A POSTROUTING -p tcp -d 10.88.3.2 --dport 7001 -m conntrack --ctorigdst 10.99.0.1 -j MASQUERADE
server b 10.88.3.2:7001
mark
at a a "$TOOLS/rr" --connect 10.99.0.1:80 --seconds 1 >&2 || fail "a published port"
assert_eq "packets of a published port" "$(since veth.packets_shortcut)" 0
mark
at a a "$TOOLS/rr" --connect 10.88.3.2:7001 --seconds 0.5 >&2
assert_ge "packets beside it" "$(since veth.packets_shortcut)" "$(many 1000)"
server_stop
ipt -t nat -F

say "the same by nftables, on a fresh table"
ipt -F
in_ns host nft -f - <<-'EOT'
	table inet test {
	        chain forward {
	                type filter hook forward priority 0; policy drop;
	                ct state invalid drop
	                ct state established,related accept
	                meta l4proto { tcp, ipv6-icmp } accept
	        }
	        chain raw {
	                type filter hook prerouting priority raw;
	                tcp dport 7004 notrack
	                tcp sport 7004 notrack
	        }
	}
EOT
server b '[fd88:3::2]:7001'
mark
at a a "$TOOLS/rr" --connect '[fd88:3::2]:7001' --seconds 1 >&2 || fail "nftables"
assert_ge "packets" "$(since veth.packets_shortcut)" "$(many 5000)"
server_stop
in_ns host nft add rule inet test forward tcp dport 7004 accept
in_ns host nft insert rule inet test forward tcp sport 7004 accept
in_ns host nft insert rule inet test forward tcp dport 7004 accept
server b 10.88.3.2:7004
mark
at a a "$TOOLS/rr" --connect 10.88.3.2:7004 --seconds 0.3 >&2 || fail "notrack"
assert_eq "packets of a flow that is not tracked" "$(since veth.packets_shortcut)" 0
assert_ge "untracked" "$(since veth.passed.untracked)" "$(many 100)"
server_stop

say "a bridge, where conntrack sees nothing"
server d 10.88.4.2:7001
mark
at c c "$TOOLS/rr" --connect 10.88.4.2:7001 --seconds 0.3 >&2
assert_eq "packets" "$(since veth.packets_shortcut)" 0
assert_ge "untracked" "$(since veth.passed.untracked)" "$(many 100)"
if in_ns host sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null; then
        say "a bridge, with br_netfilter at work"
        in_ns host nft flush ruleset
        ipt -A FORWARD -m conntrack --ctstate ESTABLISHED,NEW -j ACCEPT
        mark
        at c c "$TOOLS/rr" --connect 10.88.4.2:7001 --seconds 0.5 >&2
        assert_ge "packets" "$(since veth.packets_shortcut)" "$(many 1000)"
else
        missing br_netfilter
fi

say "be_liberal taken away while running: refused by itself"
in_ns host sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0
refused() { [[ $(property VethShortcut) == refused ]]; }
eventually 15 refused || fail "VethShortcut: $(property VethShortcut)"
in_ns host sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1
active() { [[ $(property VethShortcut) == active ]]; }
eventually 15 active || fail "VethShortcut: $(property VethShortcut)"
