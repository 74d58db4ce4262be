#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Socket options that do not work on an enrolled socket: who has one stays on TCP, who sets one later goes back there, and the
# application sees none of it.
. "$(dirname "$0")/lib.sh"

configure_all
daemon_start_active
options() { at "$1" - python3 "$TOP/tests/tools/options.py" "${@:2}"; }

hooks() { bpftool cgroup show "$CG" 2>/dev/null | awk 'NR > 1 { print $2 }' | sort | paste -sd' '; }
assert_eq "attached" "$(hooks)" "cgroup_setsockopt cgroup_sock_ops"

say "nothing of the kind"
mark
assert_eq "no option" "$(options none none later)" ok
assert_eq "a value of two pages" "$(options large large later)" ok
assert_eq "paired" "$(since socket.connections_paired)" 2
assert_eq "demoted" "$(since socket.demoted)" 0
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 50

say "before the handshake"
for where in "lowat before" "lowat listener" "zerocopy before" "zerocopy listener"; do
        mark
        # shellcheck disable=SC2086
        assert_eq "$where" "$(options "${where/ /-}" $where)" ok
        assert_eq "left" "$(since socket.connections_left.option)" 1
        assert_eq "paired" "$(since socket.connections_paired)" 0
        # The cgroup is not to blame.
        options "${where/ /-}" none later >/dev/null || fail "see above"
        assert_eq "paired without it" "$(since socket.connections_paired)" 1
done

say "on an enrolled socket"
for name in lowat zerocopy; do
        mark
        assert_eq "$name" "$(options $name $name later)" ok
        assert_eq "paired" "$(since socket.connections_paired)" 1
        assert_ge "messages by shortcut before" "$(since socket.messages_shortcut)" 5
        assert_eq "demoted" "$(since socket.demoted)" 1
        assert_ge "messages by TCP for it" "$(since socket.passed.option)" 1
        assert_le "that is until both ends had left" "$(since socket.passed.option)" 8
        mark
        assert_eq "the next connection of the cgroup" "$(options $name none later)" ok
        assert_eq "left" "$(since socket.connections_left.option)" 1
done

say "TCP_ULP on an enrolled socket"
mark
expected=ok
grep -qw tls /proc/sys/net/ipv4/tcp_available_ulp || expected=ENOENT
assert_eq "ulp" "$(options ulp ulp later)" $expected
assert_ge "messages by TCP for it" "$(since socket.passed.option)" 1
options ulp none later >/dev/null || fail "see above"
assert_eq "left" "$(since socket.connections_left.option)" 1

say "a crash of the daemon: the hook goes on, and is there once afterwards"
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
assert_eq "attached without a daemon" "$(hooks)" "cgroup_setsockopt cgroup_sock_ops"
assert_eq "lowat without a daemon" "$(options crash lowat later)" ok
daemon_start || fail "no start after a crash"
assert_eq "attached after a crash" "$(hooks)" "cgroup_setsockopt cgroup_sock_ops"
mark
options crash none later >/dev/null || fail "see above"
assert_eq "left, as was learnt without a daemon" "$(since socket.connections_left.option)" 1

say "off, and a stop"
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
"$MESHCUTD" --state-dir="$SCRATCH/bpf/meshcut" --off || fail "--off"
assert_eq "attached after --off" "$(hooks)" ""
daemon_start || fail "no start after --off"
assert_eq "attached again" "$(hooks)" "cgroup_setsockopt cgroup_sock_ops"
daemon_stop
assert_eq "attached after a stop" "$(hooks)" ""
