#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Which connections the rules mean: by cgroup, also one that is a moment old; by port, through REDIRECT; by
# address, in both families; "leave" at either end.
. "$(dirname "$0")/lib.sh"

ns_add a b
ns_link a b 10.79.1
B4=10.79.1.2 B6=fd77:10:79:1::2

# serve PORT [ADDRESS]: in b
serve() {
        at_exec server b "$TOOLS/rr" --listen "${2:-0.0.0.0}:$1" >/dev/null 2>&1 &
        eventually 5 listening b "$1" || fail "no server on port $1"
}
# judged CGROUP ADDRESS:PORT REASON: one connection from a; REASON is why it is left, or "paired".
judged() {
        local counter=socket.connections_left.$3
        [[ $3 == paired ]] && counter=socket.connections_paired
        mark
        at "$1" a "$TOOLS/rr" --connect "$2" --seconds 0.1 >/dev/null || fail "$1 to $2: no connection"
        assert_eq "$1 to $2: $3" "$(since $counter)" 1
}

configure <<-'EOF'
	[Rule ports]
	Port=7001 7100-7102 15006
	[Rule units]
	Cgroup=/mesh.slice/**
	[Rule addresses]
	Address=fd77:10:79:1::1
	[Rule never]
	Action=leave
	Cgroup=/secret
EOF
daemon_start_active
for port in 7001 7101 7103 15006; do serve $port; done
serve 7200 '[::]'

judged app $B4:7001 paired
judged app $B4:7101 paired
judged app $B4:7103 no_rule
judged mesh.slice/x.service/deep $B4:7103 paired
judged app "[$B6]:7200" paired
judged secret $B4:7001 leave

say "REDIRECT: the port that was dialled, or the one that is listened on"
in_ns b iptables -w -t nat -A PREROUTING -p tcp --dport 7102 -j REDIRECT --to-ports 7103
in_ns b iptables -w -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 7001
judged app $B4:7102 paired
judged app $B4:80 paired

say "a cgroup that the daemon has not seen yet"
kill -STOP "$DAEMON_PID"
mkdir "$CG/young"
at young a "$TOOLS/rr" --connect $B4:7001 --seconds 0.1 >/dev/null
at young a "$TOOLS/rr" --connect $B4:7103 --seconds 0.1 >/dev/null
kill -CONT "$DAEMON_PID"
assert_eq "left as new_cgroup" "$(counter socket.connections_left.new_cgroup)" 2
judged young $B4:7001 paired

say "a reload turns a running connection off, and on again"
at app a "$TOOLS/rr" --connect $B4:7001 --seconds $((3 * SLOW)) >/dev/null &
client=$!
sleep 0.3
printf '[Rule all]\nAction=leave\n' | configure
reload
mark
sleep 0.3
assert_eq "messages by shortcut" "$(since socket.messages_shortcut)" 0
assert_ge "messages by TCP" "$(since socket.passed.off)" 100
printf '[Rule all]\nAction=shortcut\n' | configure
reload
mark
sleep 0.3
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 100
wait $client || fail "the connection broke"
