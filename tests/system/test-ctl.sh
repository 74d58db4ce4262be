#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# meshcutctl as a person sees it, at a terminal of 80 columns, and as a script does, through a pipe: no line is longer than the
# terminal, colour only where it is welcome, JSON everywhere.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

ctl=$BUILD/dbus/meshcutctl
export LC_ALL=C.UTF-8 TERM=xterm
unset NO_COLOR

# terminal COLUMNS NAME ARGUMENT...: what a terminal shows, in $SCRATCH/NAME; without colours in $SCRATCH/NAME.plain.
terminal() {
        local columns=$1 name=$2
        shift 2
        "$TOP/tests/tools/terminal.py" "$columns" "${SECONDS_LONG:-10}" "$ctl" "$@" >"$SCRATCH/$name" || return
        sed 's/\x1b\[[0-9;]*m//g' "$SCRATCH/$name" >"$SCRATCH/$name.plain"
}
longest() { wc -L; } # in columns
coloured() { grep -q $'\x1b' "$1"; }
# shown NAME ARGUMENT...: by all means that a verb can be asked.
shown() {
        local name=$1
        shift
        terminal 80 "$name" "$@" || fail "$name fails: $(cat "$SCRATCH/$name")"
        sed 's/^/  | /' "$SCRATCH/$name.plain" >&2
        assert_le "$name: the longest line" "$(longest <"$SCRATCH/$name.plain")" 80
        grep -q '[[:graph:]]' "$SCRATCH/$name.plain" || fail "$name shows nothing"
        coloured "$SCRATCH/$name" || fail "$name: no colour at a terminal"
        NO_COLOR=1 terminal 80 "$name.no" "$@"
        coloured "$SCRATCH/$name.no" && fail "$name: colour with NO_COLOR"
        TERM=dumb terminal 80 "$name.dumb" "$@"
        coloured "$SCRATCH/$name.dumb" && fail "$name: colour at a dumb terminal"
        terminal 40 "$name.narrow" "$@"
        "$ctl" "$@" >"$SCRATCH/$name.pipe" || fail "$name fails through a pipe"
        coloured "$SCRATCH/$name.pipe" && fail "$name: colour through a pipe"
        if grep -q '…' "$SCRATCH/$name.pipe"; then fail "$name: shortened through a pipe"; fi
        "$ctl" --json "$@" | jq -e . >"$SCRATCH/$name.json" || fail "$name: no JSON"
}

rule=a-rule-with-a-name-that-is-as-long-as-any-name-of-a-rule-may-be
configure <<-EOT
	Veth=yes
	[Veth]
	Mode=direct
	Interfaces=ve* a-long*
	[Rule $rule]
	Cgroup=/with/a/long/path/**
	[Rule short]
	Port=7001
EOT
assert_eq "the name's length" ${#rule} 63
host_add host
NS_DAEMON=host
bridge_add host br0 1
container_add host c1 1 1 br0
container_add host c2 1 2 br0
ip -n "meshcut-$ID-host" link add a-long-name-15c type veth peer name a-peer
daemon_start_active
attached vec1 vec2
eventually 5 veth_is a-long-name-15c State left

# The longest that an address can be.
n=0
for ns in c1 c2; do
        ip -n "meshcut-$ID-$ns" addr add "fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1$((++n))11/112" dev eth0 nodad
done
at_exec server c2 "$TOOLS/rr" --listen '[fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1211]:7001' &
eventually 5 listening c2 7001
at_exec with/a/long/path/client c1 "$TOOLS/rr" --connect '[fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1211]:7001' \
        --seconds $((60 * SLOW)) >"$SCRATCH/rr" 2>&1 &
client=$!
is_shortcut() { (($(counter socket.messages_shortcut) > 1000)); }
eventually 10 is_shortcut || fail "nothing is shortcut: $(cat "$SCRATCH/rr")"

shown status
grep -q 'Socket shortcut: *active' "$SCRATCH/status.plain" || fail "status: no state"
assert_eq "JSON: state" "$(jq -r .socket.state "$SCRATCH/status.json")" active
assert_ge "JSON: features" "$(jq '.features | length' "$SCRATCH/status.json")" 5

shown stats stats
grep -qE '^Messages by shortcut +[1-9][0-9]*$' "$SCRATCH/stats.plain" || fail "stats: no messages"
assert_ge "JSON: messages" "$(jq '."socket.messages_shortcut"' "$SCRATCH/stats.json")" 1000
assert_ge "JSON: messages by rule" "$(jq --arg r $rule '[.rules[]."socket.messages_shortcut"] | add' "$SCRATCH/stats.json")" 1000

shown connections connections
assert_eq "connections: ports" "$(grep -c ']:7001 ' "$SCRATCH/connections.plain")" 1
assert_eq "JSON: server" "$(jq -r '.[0].ServerAddress' "$SCRATCH/connections.json")" fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1211
assert_eq "JSON: state" "$(jq -r '.[0].State' "$SCRATCH/connections.json")" shortcut

shown veths veths
assert_eq "veths: attached" "$(grep -c '^vec[12] *attached' "$SCRATCH/veths.plain")" 2
assert_eq "veths: left" "$(grep -c '^a-long-name-15c *left' "$SCRATCH/veths.plain")" 1
assert_eq "JSON: veths" "$(jq -r 'map(.Interface) | map(select(test("^vec|^a-long"))) | sort | join(" ")' "$SCRATCH/veths.json")" \
        'a-long-name-15c vec1 vec2'

say "rates"
SECONDS_LONG=$((3 * SLOW)).5 terminal 80 watch stats --watch || fail "stats --watch fails: $(cat "$SCRATCH/watch")"
sed 's/^/  | /' "$SCRATCH/watch.plain" >&2
assert_le "stats --watch: the longest line" "$(longest <"$SCRATCH/watch.plain")" 80
coloured "$SCRATCH/watch" || fail "stats --watch: no colour at a terminal"
assert_ge "messages a second" "$(awk 'NR == 3 { print $4 }' "$SCRATCH/watch.plain")" $((1000 / SLOW))
assert_eq "active" "$(awk 'NR == 3 { print $1 }' "$SCRATCH/watch.plain")" 1
# Through a pipe each line comes at once.
timeout $((3 * SLOW)).5 "$ctl" stats --watch >"$SCRATCH/watch.pipe" || true
assert_ge "lines through a pipe" "$(wc -l <"$SCRATCH/watch.pipe")" 3
coloured "$SCRATCH/watch.pipe" && fail "stats --watch: colour through a pipe"
timeout $((3 * SLOW)).5 "$ctl" stats --watch --json >"$SCRATCH/watch.json" || true
assert_ge "growth in JSON" \
        "$(jq -s '.[1]."socket.messages_shortcut" - .[0]."socket.messages_shortcut"' "$SCRATCH/watch.json")" $((1000 / SLOW))

say "the check"
# meshcutctl checks the system's configuration: by a program that is told another one.
printf '#!/bin/sh\nexec "%s" --config="$CHECKED" "$@"\n' "$MESHCUTD" >"$SCRATCH/meshcutd"
chmod +x "$SCRATCH/meshcutd"
export MESHCUTD=$SCRATCH/meshcutd
export CHECKED=$SCRATCH/meshcut.conf
shown check check
assert_eq "check: JSON" "$(jq -c . "$SCRATCH/check.json")" '{"valid":true,"problems":[]}'
mkdir -p "$SCRATCH/a/directory/whose/name/is/long"
export CHECKED=$SCRATCH/a/directory/whose/name/is/long/meshcut.conf
printf '[Meshcut]\nSocket=perhaps\n[Rule bad]\nPort=seventy\nUnknown=1\n' >"$CHECKED"
terminal 80 bad check && fail "check finds nothing"
sed 's/\x1b\[[0-9;]*m//g' "$SCRATCH/bad" >"$SCRATCH/bad.plain"
sed 's/^/  | /' "$SCRATCH/bad.plain" >&2
assert_le "check: the longest line" "$(longest <"$SCRATCH/bad.plain")" 80
"$ctl" check >"$SCRATCH/bad.pipe" && fail "check finds nothing"
coloured "$SCRATCH/bad.pipe" && fail "check: colour through a pipe"
assert_eq "mistakes, each in a line" "$(grep -cF "$CHECKED:" "$SCRATCH/bad.pipe")" 3
"$ctl" check --json >"$SCRATCH/bad.json" && fail "check finds nothing"
assert_eq "check: JSON" "$(jq -c '[.valid, (.problems | map(.line) | sort)]' "$SCRATCH/bad.json")" '[false,[2,4,5]]'
assert_eq "check: JSON: file" "$(jq -r '.problems[0].file' "$SCRATCH/bad.json")" "$CHECKED"
MESHCUTD=$SCRATCH/nothing assert_fails "no program that checks" 'cannot run .*: No such file' "$ctl" check

kill $client
wait $client || true
say "without a service"
daemon_stop
for verb in status stats connections veths; do
        assert_fails "$verb" 'meshcutd is not running' "$ctl" $verb
        assert_fails "$verb --json" 'meshcutd is not running' "$ctl" $verb --json
done
