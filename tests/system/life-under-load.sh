#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The service's life under load: killed, restarted, reloaded, stopped, replaced by a build with another ABI. No byte is
# lost, no connection breaks, counters go on after a crash, and in the end nothing of ours is in the kernel.
. "$(dirname "$0")/lib.sh"

command -v meson >/dev/null || skip "no meson: the build with another ABI cannot be made"

mkdir "$SCRATCH/other"
tar -C "$TOP" -cf - --exclude=.git --exclude='./build*' . | tar -C "$SCRATCH/other" -xf -
abi=$SCRATCH/other/bpf/meshcut-abi.h
sed -i 's/^        __u64 established_ns;/&\n        __u64 another_abi;/; s/struct meshcut_end) == 160/struct meshcut_end) == 168/' "$abi"
grep -q another_abi "$abi" || fail "the ABI has another form than expected"
{ meson setup "$SCRATCH/other/build" "$SCRATCH/other" && ninja -C "$SCRATCH/other/build" daemon/meshcutd; } >"$SCRATCH/build.log" 2>&1 ||
        fail "the other build fails: $(tail -n 20 "$SCRATCH/build.log")"

configure <<-'EOT'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOT
daemon_start_active
ns_add a b
ns_link a b 10.77.1
# Only programs that appear from now on and bear our names can be ours; other tests may have some at the same time.
ours() { bpftool prog show pinned "$SCRATCH/bpf/meshcut/socket/sockops" | sed -n 's/^\([0-9]*\):.*/\1/p'; }

at_exec server b "$TOOLS/integrity" --listen 10.77.1.2:7001 --port2 7002 >"$SCRATCH/server" 2>&1 &
server=$!
at_exec client a "$TOOLS/integrity" --connect 10.77.1.2:7001 --port2 7002 --seconds "${MESHCUT_CRASH_SECONDS:-75}" --seed $$ \
        >"$SCRATCH/client" 2>&1 &
client=$!
is_shortcut() { (($(counter socket.messages_shortcut) > 1000)); }
eventually 10 is_shortcut || fail "nothing is shortcut"
moving() { kill -0 $client 2>/dev/null || fail "the load is over too early: $(tail -n 3 "$SCRATCH/client")"; }
programs=$(ours)

begun=$SECONDS
before=0
for ((i = 0; i < 50; i++)); do
        kill -KILL "$DAEMON_PID"
        wait "$DAEMON_PID" 2>/dev/null || true
        daemon_start || fail "no start after a crash"
        after=$(counter socket.messages_shortcut)
        ((after >= before)) || fail "kill $i: the counter fell from $before to $after"
        before=$after
done
moving
grown() { (($(counter socket.messages_shortcut) > before)); }
eventually 10 grown || fail "nothing is shortcut after the crashes"
[[ $(property SocketShortcut) == active ]] || fail "not active after the crashes"
assert_eq "the same program all the while" "$(ours)" "$programs"
say "50 times killed, $((SECONDS - begun)) s"

for ((i = 0; i < 50; i++)); do reload; done
moving
say "50 times reloaded, $((SECONDS - begun)) s"

for ((i = 0; i < 70; i++)); do
        daemon_stop
        [[ ! -e $SCRATCH/bpf/meshcut ]] || fail "pins after a stop"
        # The last twenty are a stop, some time without a service, and a start.
        ((i < 50)) || sleep 0.1
        daemon_start || fail "no start after a stop"
done
moving
assert_eq "SocketShortcut" "$(property SocketShortcut)" active
say "50 restarts, 20 stops and starts, $((SECONDS - begun)) s"

programs=$(ours)
eventually 10 is_shortcut || fail "nothing is shortcut after the restarts"
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
MESHCUTD=$SCRATCH/other/build/daemon/meshcutd
daemon_start || fail "the other build does not start"
[[ $(ours) != "$programs" ]] || fail "the other build adopted programs that are not its own"
assert_eq "SocketShortcut of the other build" "$(property SocketShortcut)" active
# Old members run out on TCP; new connections are the new programs'.
eventually 10 is_shortcut || fail "the other build shortcuts nothing"
moving
say "replaced by a build with another ABI, $((SECONDS - begun)) s"

wait $client || fail "client: $(tail -n 3 "$SCRATCH/client"); server: $(tail -n 3 "$SCRATCH/server"; cat "$SCRATCH/daemon.log" | tail -n 5)"
wait $server || fail "server: $(tail -n 3 "$SCRATCH/server")"
sed 's/^/  /' "$SCRATCH/client" >&2

programs="$programs $(ours)"
daemon_stop
gone() {
        local id
        for id in $programs; do ! bpftool prog show id "$id" >/dev/null 2>&1 || return 1; done
}
eventually 10 gone || fail "programs are left: $(bpftool prog show)"
[[ -z $(bpftool cgroup show "$CG") && ! -e $SCRATCH/bpf/meshcut ]] || fail "attached or pinned after the stop"
say "nothing of ours is left in the kernel"
