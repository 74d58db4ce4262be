#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What outlives what: a crash, a reload that fails, "meshcutd --off", a cgroup root that is gone.
. "$(dirname "$0")/lib.sh"

paired() { # CGROUP
        mark
        at "$1" - "$TOOLS/rr" --seconds 0.2 >/dev/null
        since socket.connections_paired
}

say "a crash: the next daemon goes on, though its rules match its own probes"
configure <<-'EOF'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOF
CG_DAEMON=$CG/meshcut.service # on a host, the daemon is below CgroupRoot= itself
daemon_start_active
at app - "$TOOLS/rr" --seconds 3 >"$SCRATCH/rr" 2>&1 &
client=$!
is_shortcut() { (($(counter socket.messages_shortcut) > 0)); }
eventually 5 is_shortcut || fail "nothing is shortcut"
before=$(counter socket.connections_paired)
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
daemon_start_active
assert_ge "counters after the crash" "$(counter socket.connections_paired)" "$before"
wait $client || fail "the connection broke: $(cat "$SCRATCH/rr")"
assert_eq "paired afterwards" "$(paired app)" 1
unset CG_DAEMON

say "a reload that cannot attach changes nothing"
mkdir -p "$CG_TOP/outside"
bpftool cgroup attach "$CG_TOP/outside" cgroup_sock_ops pinned "$SCRATCH/bpf/meshcut/socket/sockops" # exclusive
printf '[Meshcut]\nCgroupRoot=%s\nAllowQuirks=splice\n[Rule other]\nPort=9999\n' "$CG_TOP/outside" >"$SCRATCH/meshcut.conf"
assert_fails "reload to a root that is taken" 'cannot be applied' reload
bpftool cgroup detach "$CG_TOP/outside" cgroup_sock_ops pinned "$SCRATCH/bpf/meshcut/socket/sockops"
assert_eq "CgroupRoot" "$(property CgroupRoot)" "$CG"
assert_eq "rules" "$(bus_call GetRuleStatistics | jq -c '[.data[0][][0]]')" '["all"]'
assert_eq "paired afterwards" "$(paired app)" 1

say "--off, with connections that close while nobody watches"
at app - "$TOOLS/rr" --seconds 1 >/dev/null &
client=$!
sleep 0.4
assert_eq "active" "$(counter socket.connections_active)" 1
"$MESHCUTD" --off --state-dir="$SCRATCH/bpf/meshcut" || fail "--off fails"
assert_eq "SocketShortcut" "$(property SocketShortcut)" disabled
wait $client || fail "the connection broke"
enable
assert_eq "SocketShortcut" "$(property SocketShortcut)" active
assert_eq "active" "$(counter socket.connections_active)" 0
assert_eq "listed" "$(bus_call ListConnections u 0 | jq '.data[0] | length')" 0
assert_eq "paired afterwards" "$(paired app)" 1

say "Disable needs no cgroup root"
mkdir "$CG/gone"
printf '[Meshcut]\nCgroupRoot=%s\nAllowQuirks=splice\n[Rule all]\nAllowBlocking=yes\n' "$CG/gone" >"$SCRATCH/meshcut.conf"
reload
assert_eq "paired below the new root" "$(paired gone)" 1
eventually 5 rmdir "$CG/gone"
disable
assert_eq "SocketShortcut" "$(property SocketShortcut)" disabled

say "a root that comes back"
state_is() { [[ $(property SocketShortcut) == "$1" ]]; }
mkdir "$CG/gone"
enable
assert_eq "paired below it" "$(paired gone)" 1
eventually 5 rmdir "$CG/gone"
eventually 5 state_is disabled || fail "the root is gone, and SocketShortcut is $(property SocketShortcut)"
mkdir "$CG/gone"
eventually 5 state_is active || fail "the root is there, and SocketShortcut is $(property SocketShortcut)"
assert_eq "paired below it" "$(paired gone)" 1

say "the bus goes away: the next daemon goes on"
configure <<-'EOF'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOF
reload
mark
at app - "$TOOLS/rr" --seconds $((5 * SLOW)) >"$SCRATCH/rr" 2>&1 &
client=$!
paired_one() { [[ $(since socket.connections_paired) == 1 ]]; }
eventually 5 paired_one || fail "not paired"
before=$(counter socket.messages_shortcut)
kill -KILL "$BUS_PID"
rm -f "$SCRATCH/bus"
gone() { ! daemon_running; }
eventually 10 gone || fail "the daemon stays without a bus"
wait "$DAEMON_PID" && fail "no failure, for which systemd would start it again"
daemon_start_active
assert_ge "counters afterwards" "$(counter socket.messages_shortcut)" "$before"
assert_eq "connections active" "$(counter socket.connections_active)" 1
wait $client || fail "the connection broke: $(cat "$SCRATCH/rr")"
