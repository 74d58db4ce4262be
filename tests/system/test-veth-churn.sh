#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A thousand containers come and go under traffic, and an address wanders between two: the service knows the truth within a
# second, nothing stays attached or known of what is gone, and at rest it does nothing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

CONTAINERS=${MESHCUT_CONTAINERS:-$((SLOW > 1 ? 100 : 1000))}

host_add host
NS_DAEMON=host
host=meshcut-$ID-host
bridge_add host br0 1
container_add host a 1 1 br0
container_add host b 1 2 br0
container_add host c 1 3 br0
configure_veth direct 'Interfaces=ve* vx*'
daemon_start_veth
attached vea veb vec

# Microseconds. Not the ticks of stat, which are samples: one in a while finds the service at its look of each second.
cpu() { awk '{ print int($1 / 1000) }' "/proc/$DAEMON_PID/schedstat"; }

say "an address wanders"
who() { at_exec "$1" "$1" "$TOP/tests/tools/who.py" serve "$1" & }
who b
who c
at_exec a a "$TOP/tests/tools/who.py" ask 10.88.1.77 13 >"$SCRATCH/answers" &
asker=$!
for ((i = 0; i < 8; i++)); do
        if ((i % 2)); then to=c from=b; else to=b from=c; fi
        ip -n "meshcut-$ID-$from" addr del 10.88.1.77/24 dev eth0 2>/dev/null || true
        echo "$(date +%s.%N) $to"
        ip -n "meshcut-$ID-$to" addr add 10.88.1.77/24 dev eth0
        # As whoever moves an address does.
        in_ns "$to" "$TOP/tests/tools/who.py" announce eth0 10.88.1.77
        sleep 1.5
done >"$SCRATCH/moves"
wait $asker || fail "who.py"
"$TOP/tests/tools/who.py" judge "$SCRATCH/moves" "$SCRATCH/answers" >&2 || fail "an answer from the wrong container"
assert_ge "packets" "$(counter veth.packets_shortcut)" "$(many 500)"

say "$CONTAINERS containers come and go"
at_exec b b "$TOOLS/udp" --listen 10.88.1.2:7003 &
at_exec a a "$TOOLS/udp" --connect 10.88.1.2:7003 --seconds 600 >/dev/null &
traffic=$!
begun=$SECONDS
"$TOP/tests/tools/churn.py" "$host" "meshcut-$ID-x" "$CONTAINERS" >"$SCRATCH/truth" || fail "churn"
say "$((SECONDS - begun)) s, $(($(cpu) / 1000)) ms of CPU in the service"
kill -0 $traffic || fail "the traffic stopped"
known() {
        veths_json | jq -r '.data[0][] | .["org.meshcut1.Veth"] // empty | select(.Interface.data | startswith("vx")) |
                "\(.Interface.data) \(.State.data) \(.Addresses.data | join(","))"' | sort
}
is_true() { known | diff -q - "$SCRATCH/truth" >/dev/null; }
# The kernel takes a namespace and its veth apart when it finds the time: that is the last change. (eventually counts whole
# seconds, so 2 is one at least.)
over() { [[ $(ip -n "$host" -o link show type veth | grep -c ' vx') == "$(wc -l <"$SCRATCH/truth")" ]]; }
eventually 60 over || fail "veths of namespaces that are gone: $(ip -n "$host" -o link show type veth | grep -c ' vx')"
eventually 2 is_true || fail "after a second: $(known | diff - "$SCRATCH/truth" | head -20)"
assert_ge "containers that stay" "$(wc -l <"$SCRATCH/truth")" 50
pins() { find "$SCRATCH/bpf/meshcut/veth" -name 'ingress-*' | wc -l; }
[[ $(veth vea Hook) != tcx ]] || assert_eq "attached" "$(pins)" $(($(wc -l <"$SCRATCH/truth") + 3))
mark
sleep 0.5
assert_ge "packets meanwhile" "$(since veth.packets_shortcut)" "$(many 1000)"

say "at rest"
kill $traffic
wait $traffic 2>/dev/null || true
# The kernel goes on for some seconds to tell of carriers that came and went (linkwatch does so once a second): that is not
# rest yet. What is left are the looks at each device for programs of others, once a second, which nothing announces: a
# tenth of a percent at most, so 0 as top shows it.
spent() {
        local before
        before=$(cpu)
        sleep 3
        echo $(($(cpu) - before))
}
for ((i = 0; i < 15; i++)); do
        spent=$(spent)
        say "CPU in 3 s: $spent us"
        ((spent > 3000 * SLOW)) || exit 0
done
fail "never at rest"
