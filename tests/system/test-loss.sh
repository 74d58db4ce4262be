#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Lost and repeated segments under the shortcut: bytes by TCP and bytes handed over stay one stream, in order, exactly once.
. "$(dirname "$0")/lib.sh"

configure <<-'EOF'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOF
daemon_start_active
ns_add a b
ns_link a b 10.78.1
in_ns b iptables -w -A INPUT -i eth0 -p tcp -m length --length 200:65535 -m statistic --mode random --probability 0.02 -j DROP
in_ns a iptables -w -A INPUT -i eth0 -p tcp -m length --length 200:65535 -m statistic --mode random --probability 0.02 -j DROP

mark
at_exec server b "$TOOLS/integrity" --listen 10.78.1.2:7001 --port2 7002 >"$SCRATCH/server.out" 2>&1 &
server=$!
eventually 5 listening b 7002
at_exec client a "$TOOLS/integrity" --connect 10.78.1.2:7001 --port2 7002 --seconds "${MESHCUT_LOSS_SECONDS:-15}" \
        >"$SCRATCH/client.out" 2>&1 &
wait $! ||
        fail "client: $(cat "$SCRATCH/client.out" "$SCRATCH/server.out")"
wait $server || fail "server: $(cat "$SCRATCH/server.out")"
say "$(cat "$SCRATCH/client.out")"
assert_ge "bytes by shortcut" "$(since socket.bytes_shortcut)" 1000000
assert_ge "bytes of the same by TCP" "$(since socket.bytes_tcp)" 1000000
assert_ge "segments dropped" "$(in_ns b iptables -w -nvxL INPUT | awk '/statistic/ { print $1 }')" 10
assert_ge "segments sent again" "$(in_ns a nstat -asz | awk '$1 == "TcpRetransSegs" { print $2 }')" 10
