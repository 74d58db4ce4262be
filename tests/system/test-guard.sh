#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The guard, with no quirk accepted: who splices is left on TCP, what is enrolled refuses splice() at once and loses nothing,
# and FIONREAD is right. Where tracing programs are refused there is no guard, and the shortcut says so: a skip.
. "$(dirname "$0")/lib.sh"

configured() { # PROBATION
        printf '[Meshcut]\nCgroupRoot=%s\n[Socket]\nProbation=%s\n[Rule mesh]\nAction=shortcut\n' "$CG" "$1" >"$SCRATCH/meshcut.conf"
}
feature() { property Features | jq -r --arg name "$1" '.[] | select(.[0] == $name) | "\(.[1]) \(.[2])"'; }
splicer() { at "$1" - python3 "$TOP/tests/tools/splicer.py" "${@:2}"; }

configured no
daemon_start || fail "the daemon does not start"
say "splice-guard: $(feature splice-guard); fionread-fix: $(feature fionread-fix)"
if [[ $(feature splice-guard) != true* ]]; then
        assert_eq "SocketShortcut without a guard" "$(property SocketShortcut)" refused
        skip "no guard here: $(feature splice-guard)"
fi
assert_eq "SocketShortcut with the guard" "$(property SocketShortcut): $(property SocketShortcutReason)" "active: "

say "splice() from an enrolled socket"
mark
assert_eq "splice() ends with" "$(splicer early)" EINVAL
assert_eq "paired" "$(since socket.connections_paired)" 1
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 3
grep -Fq 'cgroup /early stay on TCP: python3 reads by splice()' "$SCRATCH/daemon.log" || fail "the log does not name it"
mark
assert_eq "the next connection's splice() ends with" "$(splicer early)" bytes
assert_eq "left" "$(since socket.connections_left.splice)" 1
assert_eq "paired" "$(since socket.connections_paired)" 0

say "zero-copy receive"
mark
assert_eq "TCP_ZEROCOPY_RECEIVE ends with" "$(splicer zerocopy --zerocopy)" EINVAL
splicer zerocopy --zerocopy >/dev/null || fail "see above"
assert_eq "left" "$(since socket.connections_left.splice)" 1

say "a crash of the daemon: the guard goes on, and knows what it knew"
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
assert_eq "splice() without a daemon ends with" "$(splicer crash)" EINVAL
daemon_start || fail "no start after a crash"
mark
splicer crash >/dev/null || fail "see above"
assert_eq "left" "$(since socket.connections_left.splice)" 1
assert_eq "with the new daemon splice() ends with" "$(splicer after)" EINVAL

say "probation"
configured auto
reload
mark
for i in 1 2 3 4; do
        at new - "$TOOLS/rr" --seconds 0.1 >/dev/null || fail "rr"
done
assert_eq "left" "$(since socket.connections_left.probation)" 4
mark
at new - "$TOOLS/rr" --seconds 0.1 >/dev/null || fail "rr"
assert_eq "paired afterwards" "$(since socket.connections_paired)" 1
mark
for i in 1 2 3 4 5; do
        assert_eq "on TCP splice() ends with" "$(splicer fresh)" bytes
done
assert_eq "on probation" "$(since socket.connections_left.probation)" 1
assert_eq "left" "$(since socket.connections_left.splice)" 4

daemon_stop
[[ ! -e $SCRATCH/bpf/meshcut || -z $(ls -A "$SCRATCH/bpf/meshcut") ]] || fail "pins after a stop: $(ls -R "$SCRATCH/bpf/meshcut")"
