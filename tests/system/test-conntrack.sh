#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Conntrack and the firewall keep their hold of a busy connection: its entry does not expire under it, and a rule added
# later stops it. With the interval of rule 5 and the timeout of conntrack both lowered.
. "$(dirname "$0")/lib.sh"

INTERVAL=2 TIMEOUT=6 BUSY=20

configure <<-EOF
	[Socket]
	TCPInterval=${INTERVAL}s
	[Rule mesh]
	Action=shortcut
EOF
daemon_start_active
ns_add a b
ns_link a b 10.77.1

for ipt in iptables ip6tables; do
        in_ns b "$ipt" -w -t nat -A PREROUTING -p tcp --dport 7000 -j REDIRECT --to-ports 7001
        in_ns b "$ipt" -w -N filter
        in_ns b "$ipt" -w -A INPUT -j filter
        # Only what conntrack knows may come in, and it takes up no connection in the middle.
        in_ns b "$ipt" -w -A INPUT -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT
        in_ns b "$ipt" -w -A INPUT -p tcp --syn --dport 7001 -j ACCEPT
        in_ns b "$ipt" -w -A INPUT -p tcp -j DROP
done
in_ns b sh -c "cd /proc/sys/net/netfilter; echo $TIMEOUT >nf_conntrack_tcp_timeout_established; echo 0 >nf_conntrack_tcp_loose"

start_pair() { # ADDRESS SECONDS
        at_exec server b "$TOOLS/rr" --listen "${3:-0.0.0.0}:7001" &
        SERVER=$!
        eventually 5 listening b 7001
        at_exec client a "$TOOLS/rr" --connect "$1:7000" --seconds "$2" >"$SCRATCH/client" 2>&1 &
        CLIENT=$!
}
stop_server() {
        kill "$SERVER"
        wait "$SERVER" 2>/dev/null || true
}

say "busy for $BUSY s with a timeout of $TIMEOUT s"
mark
start_pair 10.77.1.2 $((BUSY + 5))
sleep $((BUSY / 2))
assert_ge "messages by shortcut in between" "$(since socket.messages_shortcut)" 1000
sleep $((BUSY / 2))
short=$(since socket.messages_shortcut)
disable
sleep 1
mark
wait $CLIENT || fail "the connection broke: $(cat "$SCRATCH/client")"
say "$(cat "$SCRATCH/client")"
assert_ge "messages by shortcut" "$short" 10000
assert_eq "messages by shortcut when it was off" "$(since socket.messages_shortcut)" 0
say "passed: $(statistics | jq -c 'with_entries(select(.key | startswith("socket.passed")))')"
stop_server
enable

# A client whose peer has gone silent gives up after as long as it would have measured.
for family in 4 6; do
        case $family in
        4) server=10.77.1.2 bind=0.0.0.0 ipt=iptables ;;
        6) server='[fd77:10:77:1::2]' bind='[::]' ipt=ip6tables ;;
        esac
        say "a DROP rule, IPv$family"
        mark
        start_pair "$server" $((12 * SLOW)) "$bind"
        sleep 2
        kill -0 $CLIENT || fail "the client ended: $(cat "$SCRATCH/client")"
        assert_ge "messages by shortcut before" "$(since socket.messages_shortcut)" 1000
        in_ns b "$ipt" -w -A filter -p tcp -j DROP
        dropped=$SECONDS
        sleep $((INTERVAL + 1))
        mark
        wait $CLIENT && fail "a DROP rule did not stop the connection"
        grep -q stalled "$SCRATCH/client" || fail "the client ended otherwise: $(cat "$SCRATCH/client")"
        assert_eq "messages by shortcut after the interval" "$(since socket.messages_shortcut)" 0
        say "stopped; given up after $((SECONDS - dropped)) s"
        in_ns b "$ipt" -w -F filter
        stop_server
done
