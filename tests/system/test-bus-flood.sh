#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What somebody with bad manners can do on the bus: wrong types, huge arrays, floods of calls, calls that nobody waits for.
# The service goes on, and others get a property in under 50 ms meanwhile.
. "$(dirname "$0")/lib.sh"

# How long a property may take. An emulated processor says nothing about time, but who has to wait for the others' calls waits
# much longer than this.
READ_MS=$((SLOW == 1 ? 50 : 2000))

configure <<-'EOT'
	[Veth]
	Interfaces=meshcut-none*
	[Rule mesh]
	Action=shortcut
EOT
for ((i = 0; i < 60; i++)); do printf '[Rule more-%s]\nPort=%s\n' $i $((20000 + i)); done >>"$SCRATCH/meshcut.conf"
daemon_start_active
pid=$DAEMON_PID

NOBODY=(setpriv --reuid nobody --regid nogroup --clear-groups)
as_nobody() { "${NOBODY[@]}" "$@"; }
bus() { busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --timeout=30 "$@"; }
manager() { bus call org.meshcut1 /org/meshcut1 org.meshcut1.Manager "$@"; }
still_well() {
        daemon_running && [[ $DAEMON_PID == "$pid" ]] || fail "$1: the service is gone"
        [[ $(property SocketShortcut) == active ]] || fail "$1: SocketShortcut is $(property SocketShortcut)"
}

say "wrong types"
assert_fails "Enable of a string" 'Invalid arguments' manager Enable s socket
assert_fails "Enable of nothing" 'Invalid arguments' manager Enable
assert_fails "Enable of numbers" 'Invalid arguments' manager Enable au 2 1 2
assert_fails "Enable of variants" 'Invalid arguments' manager Enable av 1 s socket
assert_fails "Reload of something" 'Invalid arguments' manager Reload s now
assert_fails "GetStatistics of something" 'Invalid arguments' manager GetStatistics a{sv} 0
assert_fails "ListConnections of a string" 'Invalid arguments' manager ListConnections s all
assert_fails "ListConnections of a negative number" 'Invalid arguments' manager ListConnections i -- -1
assert_fails "ListConnections of 64 bits" 'Invalid arguments' manager ListConnections t 18446744073709551615
assert_fails "a method that there is not" 'Unknown method' manager Obliterate
assert_fails "an object that there is not" 'Unknown object' \
        bus call org.meshcut1 /org/meshcut1/veth/_99999999999 org.meshcut1.Veth GetStatistics
assert_fails "an object with a strange name" 'Unknown object' \
        bus get-property org.meshcut1 /org/meshcut1/veth/_1x org.meshcut1.Veth State
assert_fails "a property that cannot be set" 'not writable|read-only' \
        bus set-property org.meshcut1 /org/meshcut1 org.meshcut1.Manager SocketShortcut s disabled
assert_fails "a property of a wrong type" 'expected' \
        bus set-property org.meshcut1 /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel u 7
assert_eq "Enable of nothing at all" "$(manager Enable as 0)" ''
still_well "after wrong types"

# flood WHAT ARGUMENTS...: its line in $SCRATCH/flood.
flood() {
        local what=$1
        shift
        "${AS[@]}" "$TOOLS/flood" "$@" >"$SCRATCH/flood" 2>&1 || fail "$what: $(cat "$SCRATCH/flood")"
        say "$what: $(cat "$SCRATCH/flood")"
        still_well "$what"
}
flooded() { field "$1" <"$SCRATCH/flood"; }
AS=()

say "huge arrays"
flood "16 names" --calls 1 --connections 1 --names 16 Enable
assert_eq "errors" "$(flooded errors)" 0
flood "100,000 names" --calls 1 --connections 1 --names 100000 Disable
assert_eq "error" "$(flooded error)" org.freedesktop.DBus.Error.InvalidArgs
flood "2,000,000 names" --calls 1 --connections 1 --names 2000000 Disable
assert_eq "error" "$(flooded error)" org.freedesktop.DBus.Error.InvalidArgs

say "1,000 calls wait"
# A bus and the machine's other work only add to it. So of each round the best nine tenths count, and of five rounds the second best.
calm() { # WHAT WAITING ARGUMENTS...: at least WAITING calls had no reply yet when a property was read
        local what=$1 waiting=$2 i
        shift 2
        for ((i = 0; i < (SLOW == 1 ? 5 : 3); i++)); do
                flood "$what" "$@"
                [[ $(flooded replies) == 1000 && $(flooded error) == none ]] || fail "$what: not all are answered"
                (($(flooded pending) >= waiting)) || fail "$what: nobody waited"
                flooded p90_ms >>"$SCRATCH/worst.$what"
        done
        assert_le "$what: time for a property, ms" "$(sort -g "$SCRATCH/worst.$what" | sed -n 2p)" $READ_MS
}
calm GetStatistics 0 GetStatistics
calm GetRuleStatistics 500 GetRuleStatistics
calm ListConnections 0 --limit 4294967295 ListConnections
calm Enable 0 Enable
AS=("${NOBODY[@]}")
calm GetRuleStatistics-for-nobody 500 GetRuleStatistics

say "callers that leave"
AS=()
for method in GetStatistics GetRuleStatistics ListConnections Enable Reload; do
        flood "leaving $method" --leave --calls 500 --connections 50 "$method"
done
# Their calls go with them, and leave room for others'.
flood "more leaving than may wait" --leave --calls 6000 --connections 60 GetRuleStatistics
flood "after they left" GetStatistics
assert_eq "errors" "$(flooded errors)" 0

say "one caller among many calls"
at_exec "$CG_TOP/infra" - "${NOBODY[@]}" "$TOOLS/flood" --calls 2000 --connections 20 GetRuleStatistics >"$SCRATCH/others" 2>&1 &
others=$!
sleep 0.3
begun=$(date +%s%N)
statistics >/dev/null
took=$((($(date +%s%N) - begun) / 1000000))
kill -0 $others 2>/dev/null || fail "the others did not wait: $(cat "$SCRATCH/others")"
begun=$(date +%s%N)
wait $others || fail "the others fail: $(cat "$SCRATCH/others")"
say "others' 2,000 calls: $(cat "$SCRATCH/others"), $((($(date +%s%N) - begun) / 1000000)) ms later"
assert_le "a call of somebody else, ms" $took $((($(date +%s%N) - begun) / 1000000))

say "many users wait for polkit"
ask() { as_nobody "$TOOLS/flood" --calls "$1" --connections "$2" "$3"; }
assert_eq "without polkit" "$(ask 100 10 Disable | field error)" org.freedesktop.DBus.Error.AccessDenied
polkit() { # ANSWER
        at_exec "$CG_TOP/infra" - "$TOOLS/polkit" "$1" >"$SCRATCH/asked" 2>&1 &
        polkit=$!
        here() { bus status org.freedesktop.PolicyKit1 >/dev/null 2>&1; }
        eventually 5 here || fail "no polkit: $(cat "$SCRATCH/asked")"
}
polkit no
ask 100 10 Disable >"$SCRATCH/flood"
assert_eq "polkit says no" "$(flooded errors)" 100
assert_ge "questions" "$(grep -c '^asked org.meshcut1.manage interactive' "$SCRATCH/asked")" 1
assert_fails "nobody lists connections" 'Access denied' as_nobody busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call org.meshcut1 \
        /org/meshcut1 org.meshcut1.Manager ListConnections u 1
still_well "polkit says no"
kill $polkit; wait $polkit || true
polkit yes
assert_eq "polkit says yes" "$(ask 1 1 Disable | field errors)" 0
assert_eq "SocketShortcut" "$(property SocketShortcut)" disabled
assert_eq "polkit says yes" "$(ask 1 1 Enable | field errors)" 0
still_well "polkit says yes"
kill $polkit; wait $polkit || true
polkit never
at_exec "$CG_TOP/infra" - "${NOBODY[@]}" "$TOOLS/flood" Disable >"$SCRATCH/never" 2>&1 &
asking=$!
asked() { (($(wc -l <"$SCRATCH/asked") >= 16)); }
eventually 10 asked || fail "polkit is not asked: $(cat "$SCRATCH/asked")"
# The user waits, or is told that so many calls are too many; nobody else does.
flood "while polkit is silent" --names 0 Enable
assert_eq "errors" "$(flooded errors)" 0
assert_le "questions that wait" "$(wc -l <"$SCRATCH/asked")" 16
kill $asking; wait $asking || true
still_well "polkit never answers"
