#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The guard, with no quirk accepted: who splices is left on TCP, what is enrolled refuses splice() at once and loses nothing,
# FIONREAD is right, and MSG_WAITALL and MSG_OOB lead back to TCP. Where tracing programs are refused there is no guard, and the
# shortcut says so: a skip.
. "$(dirname "$0")/lib.sh"

configured() { # PROBATION [RULE LINE...]
        {
                printf '[Meshcut]\nCgroupRoot=%s\n[Socket]\nProbation=%s\n[Rule mesh]\nAction=shortcut\n' "$CG" "$1"
                printf '%s\n' "${@:2}"
        } >"$SCRATCH/meshcut.conf"
}
feature() { property Features | jq -r --arg name "$1" '.[] | select(.[0] == $name) | "\(.[1]) \(.[2])"'; }
flags() { at "$1" - python3 "$TOP/tests/tools/flags.py" "$2"; }
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

say "MSG_OOB on an enrolled socket"
mark
assert_eq "MSG_OOB twice" "$(flags urgent oob)" "in-band urgent"
assert_eq "paired" "$(since socket.connections_paired)" 1
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 10
assert_ge "messages by TCP for it" "$(since socket.passed.option)" 1
assert_eq "demoted" "$(since socket.demoted)" 1
grep -Fq 'cgroup /urgent stay on TCP: python3 sends by MSG_OOB' "$SCRATCH/daemon.log" || fail "the log does not name it"
mark
assert_eq "the next connection's MSG_OOB" "$(flags urgent oob)" "urgent urgent"
assert_eq "left" "$(since socket.connections_left.option)" 1
assert_eq "paired" "$(since socket.connections_paired)" 0

say "MSG_WAITALL on an enrolled socket, whether it may block or does so later"
for allowed in yes no; do
        configured no AllowBlocking=$allowed
        reload
        mark
        assert_eq "MSG_WAITALL twice" "$(flags waits-$allowed waitall)" "short whole"
        assert_eq "paired" "$(since socket.connections_paired)" 1
        assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 10
        assert_eq "demoted" "$(since socket.demoted)" 1
        grep -Fq "cgroup /waits-$allowed stay on TCP: python3 reads blocking sockets by MSG_WAITALL" "$SCRATCH/daemon.log" ||
                fail "the log does not name it"
        mark
        assert_eq "the next connection's MSG_WAITALL" "$(flags waits-$allowed waitall)" "whole whole"
        assert_eq "left" "$(since socket.connections_left.option)" 1
done

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

configured auto AllowBlocking=yes
reload
mark
for i in 1 2 3 4 5; do
        assert_eq "MSG_WAITALL" "$(flags fresh-waits waitall)" "whole whole"
        assert_eq "MSG_OOB" "$(flags fresh-urgent oob)" "urgent urgent"
done
assert_eq "on probation" "$(since socket.connections_left.probation)" 2
assert_eq "left" "$(since socket.connections_left.option)" 8

daemon_stop
[[ ! -e $SCRATCH/bpf/meshcut || -z $(ls -A "$SCRATCH/bpf/meshcut") ]] || fail "pins after a stop: $(ls -R "$SCRATCH/bpf/meshcut")"
