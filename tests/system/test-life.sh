#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The service's life under load: killed at any moment, restarted, reloaded, stopped, replaced by a build with another ABI.
# No byte is lost, no connection breaks, counters go on after a crash, and in the end nothing of ours is in the kernel.
. "$(dirname "$0")/lib.sh"

command -v meson >/dev/null || skip "no meson: the build with another ABI cannot be made"

# A build whose programs have eight bytes more in each end. It takes some seconds, while the daemon is being killed.
other_build() {
        local abi=$SCRATCH/other/bpf/meshcut-abi.h
        mkdir "$SCRATCH/other"
        tar -C "$TOP" -cf - --exclude=.git --exclude='./build*' . | tar -C "$SCRATCH/other" -xf -
        sed -i -e 's/^        __u64 established_ns;/&\n        __u64 another_abi;/' \
                -e 's/struct meshcut_end) == 160/struct meshcut_end) == 168/' "$abi"
        grep -q another_abi "$abi" || { echo "the ABI has another form than expected"; return 1; }
        meson setup "$SCRATCH/other/build" "$SCRATCH/other" && ninja -C "$SCRATCH/other/build" daemon/meshcutd
}

paired='[Rule all]
Action=shortcut
AllowBlocking=yes
'
left='[Rule not-these]
Action=leave
Port=7002
'
configure <<<"$paired"
daemon_start_active
ns_add a b
ns_link a b 10.77.1

# look NAME: what is in the kernel now, to be judged later: other tests have programs of the same names at the same time. bpftool
# fails when one of them vanishes under its eyes.
look() {
        bpftool -f -j map show >"$SCRATCH/maps.$1" && bpftool -j prog show >"$SCRATCH/progs.$1" &&
                bpftool -f -j link show >"$SCRATCH/links.$1"
}
seen() { eventually 5 look "$1" || fail "bpftool fails"; }
# The ids of what belongs to the pins of this test, of all that was seen: {maps, progs, links}.
ours() {
        local n
        for n in "$SCRATCH"/maps.*; do
                n=${n##*.}
                jq -n --arg dir "$SCRATCH/bpf/" --slurpfile maps "$SCRATCH/maps.$n" --slurpfile progs "$SCRATCH/progs.$n" \
                        --slurpfile links "$SCRATCH/links.$n" '
                        def pinned: map(select((.pinned // []) | any(startswith($dir))) | .id);
                        ($maps[0] | pinned) as $pinned |
                        ($progs[0] | map(select((.map_ids // []) | any(IN($pinned[]))))) as $programs |
                        { maps: ($pinned + ($programs | map(.map_ids[])) | unique), progs: ($programs | map(.id)),
                          links: ($links[0] | pinned) }'
        done | jq -s '{ maps: (map(.maps[]) | unique), progs: (map(.progs[]) | unique), links: (map(.links[]) | unique) }'
}
program() { bpftool -j prog show pinned "$SCRATCH/bpf/meshcut/socket/sockops" | jq .id; }

# The service and this script go before the load, as far as they may: it is not the machine that is tested. The load goes on until
# it is told to end.
stand_back=10
renice -n -10 $$ >/dev/null 2>&1 || stand_back=0
at_exec server b nice -n "$stand_back" "$TOOLS/integrity" --listen 10.77.1.2:7001 --port2 7002 >"$SCRATCH/server" 2>&1 &
server=$!
at_exec client a nice -n "$stand_back" "$TOOLS/integrity" --connect 10.77.1.2:7001 --port2 7002 --connections 24 \
        --seconds 600 --seed $$ >"$SCRATCH/client" 2>&1 &
client=$!
answers() { property Version >/dev/null 2>&1; }
moving() { kill -0 $client 2>/dev/null || fail "the load broke: $(tail -n 3 "$SCRATCH/client" "$SCRATCH/server")"; }
is_shortcut() { (($(counter socket.messages_shortcut) > 1000)); }
shortcut() { eventually 10 is_shortcut || fail "$1: nothing is shortcut: $(statistics | jq -c .)"; }
shortcut "in the beginning"
other_build >"$SCRATCH/build.log" 2>&1 &
build=$!

begun=$SECONDS
first=$(program)
seen first
before=0
for ((i = 0; i < 25; i++)); do
        # Now and then in the midst of a reload.
        if ((i % 5 == 0)); then
                bus_call Reload >/dev/null 2>&1 &
                reload=$!
                sleep "0.0$((RANDOM % 10))"
                daemon_kill
                wait $reload || true
        else
                daemon_kill
        fi
        # And then at any moment of its start.
        daemon_launch
        sleep "0.$(printf %03d $((RANDOM % 200)))"
        daemon_kill
        daemon_start || fail "no start after a crash"
        # What was said to be ready may have been the one before.
        eventually 20 answers || fail "no answer after a crash"
        after=$(counter socket.messages_shortcut)
        ((after >= before)) || fail "kill $i: the counter fell from $before to $after"
        before=$after
done
moving
grown() { (($(counter socket.messages_shortcut) > before)); }
eventually 10 grown || fail "nothing is shortcut after the crashes"
assert_eq "SocketShortcut after 50 kills" "$(property SocketShortcut)" active
assert_eq "the program is the same all the while" "$(program)" "$first"
assert_ge "adopted" "$(grep -c 'Going on with the shortcut that an earlier daemon left' "$SCRATCH/daemon.log")" 25
say "50 kills: $((SECONDS - begun)) s"

# restart N: with a reload in between, each to the other of two policies.
restart() {
        daemon_stop
        [[ ! -e $SCRATCH/bpf/meshcut ]] || fail "pins after a stop"
        (($1 % 5)) || [[ $(bpftool -j cgroup tree "$CG") == "[]" ]] || fail "attached after a stop"
        # The last twenty are a stop, some time without a service, and a start.
        (($1 < 50)) || sleep 0.1
        daemon_start || fail "no start after a stop"
        seen "$1"
        (($1 < 50)) || return 0
        if (($1 % 2)); then configure <<<"$paired"; else configure <<<"$paired$left"; fi
        reload
}
begun=$SECONDS
for ((i = 0; i < 50; i++)); do restart $i; done
moving
shortcut "after 50 restarts"
assert_eq "SocketShortcut after 50 restarts and reloads" "$(property SocketShortcut)" active
say "50 restarts and reloads: $((SECONDS - begun)) s"
begun=$SECONDS
for ((; i < 70; i++)); do restart $i; done
moving
shortcut "after 20 stops and starts"
say "20 stops and starts: $((SECONDS - begun)) s"

begun=$SECONDS
wait $build || fail "the other build fails: $(tail -n 20 "$SCRATCH/build.log")"
mine=$MESHCUTD
for daemon in "$SCRATCH/other/build/daemon/meshcutd" "$mine"; do
        programs=$(program)
        adoptions=$(grep -c 'Going on with' "$SCRATCH/daemon.log")
        daemon_kill
        MESHCUTD=$daemon
        daemon_start || fail "the other build does not start"
        [[ $(program) != "$programs" ]] || fail "the other build goes on with programs that are not its own"
        assert_eq "adopted by the other build" "$(grep -c 'Going on with' "$SCRATCH/daemon.log")" "$adoptions"
        assert_eq "SocketShortcut of the other build" "$(property SocketShortcut)" active
        # Old members run out on TCP; new connections are the new programs'.
        shortcut "the other build"
        moving
        seen "$((++i))"
done
say "a build with another ABI, and back: $((SECONDS - begun)) s"

begun=$SECONDS
kill -USR1 $client
wait $client || fail "client: $(tail -n 3 "$SCRATCH/client"); server: $(tail -n 3 "$SCRATCH/server")"
wait $server || fail "server: $(tail -n 3 "$SCRATCH/server")"
sed 's/^/  /' "$SCRATCH/client" >&2
assert_ge "connections, every byte of which was compared" "$(field connections <"$SCRATCH/client")" 500
inactive() { [[ $(counter socket.connections_active) == 0 ]]; }
eventually 5 inactive || fail "connections active after all: $(counter socket.connections_active)"

daemon_stop
remaining=$(sed -n 's/.*meshcut stopped; \([0-9]*\) enrolled connections go on by TCP.*/\1/p' "$SCRATCH/daemon.log" | sort -n)
assert_ge "stops that say how many connections remain" "$(wc -l <<<"$remaining")" 71
assert_ge "the most of them" "$(tail -n 1 <<<"$remaining")" 2
assert_eq "at the last stop" "$(tail -n 1 "$SCRATCH/daemon.log" | grep -o 'stopped; [0-9]*')" 'stopped; 0'

ours >"$SCRATCH/ours"
say "of ours: $(jq -c 'map_values(length)' "$SCRATCH/ours")"
# Each of them loaded the programs anew: at least three, on a dozen of maps.
jq -e '(.progs | length) >= 3 * 73 and (.maps | length) >= 10 * 73 and (.links | length) >= 73' "$SCRATCH/ours" >/dev/null ||
        fail "not all of ours was seen"
left_in_kernel() {
        mkdir -p "$SCRATCH/end"
        bpftool -j map show >"$SCRATCH/end/maps" && bpftool -j prog show >"$SCRATCH/end/progs" &&
                bpftool -j link show >"$SCRATCH/end/links" || return
        jq -nc --slurpfile ours "$SCRATCH/ours" --slurpfile maps "$SCRATCH/end/maps" --slurpfile progs "$SCRATCH/end/progs" \
                --slurpfile links "$SCRATCH/end/links" '
                def left($name): map(select(.id | IN($ours[0][$name][])));
                ($maps[0] | left("maps")) + ($progs[0] | left("progs")) + ($links[0] | left("links"))'
}
nothing_left() { [[ $(left_in_kernel) == '[]' ]]; }
eventually 10 nothing_left || fail "left in the kernel: $(left_in_kernel)"
[[ $(bpftool -j cgroup tree "$CG") == "[]" && ! -e $SCRATCH/bpf/meshcut ]] || fail "attached or pinned after the stop"
say "nothing of ours is left in the kernel: $((SECONDS - begun)) s"
