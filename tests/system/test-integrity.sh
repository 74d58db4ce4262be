#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Every byte, in order, exactly once, while the shortcut goes on and off up to a hundred times a second.
. "$(dirname "$0")/lib.sh"

SECONDS_LONG=${MESHCUT_INTEGRITY_SECONDS:-30}

ns_add a b
ns_link a b 10.77.1

# exchange SECONDS SEED SERVER_ADDRESS: fails with the tools' own words.
exchange() {
        local server
        at_exec server b "$TOOLS/integrity" --listen "$3:7001" --port2 7002 >"$SCRATCH/server" 2>&1 &
        server=$!
        at_exec client a "$TOOLS/integrity" --connect "$3:7001" --port2 7002 --seconds "$1" --seed "$2" \
                >"$SCRATCH/client" 2>&1 &
        wait $! || fail "client: $(tail -n 3 "$SCRATCH/client"); server: $(tail -n 3 "$SCRATCH/server")"
        wait $server || fail "server: $(tail -n 3 "$SCRATCH/server")"
        sed 's/^/  /' "$SCRATCH/client" >&2
}

configure <<-'EOF'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOF
daemon_start_active

say "both ends may block, toggled at random"
"$TOOLS/toggle" --seconds "$SECONDS_LONG" --rate 100 --seed $$ >"$SCRATCH/toggle" 2>&1 &
toggle=$!
exchange "$SECONDS_LONG" $$ 10.77.1.2
wait $toggle || fail "toggle: $(cat "$SCRATCH/toggle")"
say "  $(cat "$SCRATCH/toggle")"
# An emulated machine manages two calls a second, and most connections may be opened while it is off.
assert_ge "paired" "$(counter socket.connections_paired)" $((SLOW == 1 ? 64 : 4))
assert_ge "bytes by shortcut" "$(counter socket.bytes_shortcut)" 1000000
assert_ge "bytes of the same by TCP" "$(counter socket.bytes_tcp)" 1000000

say "always on, IPv6"
mark
exchange 5 $(($$ + 1)) '[fd77:10:77:1::2]'
assert_ge "bytes by shortcut" "$(since socket.bytes_shortcut)" 1000000

say "blocking ends stay on TCP"
configure_all
reload
mark
exchange 5 $(($$ + 2)) 10.77.1.2
assert_ge "left as blocking" "$(since socket.connections_left.blocking)" 1
assert_ge "paired" "$(since socket.connections_paired)" 1

say "$(statistics | jq -c 'with_entries(select(.key | test("passed|left|demoted")))')"
