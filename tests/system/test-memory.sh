#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A receiver whose memory cgroup is full stops its senders, as with TCP; they never see ENOMEM.
. "$(dirname "$0")/lib.sh"

memory=$(awk '{ for (i = 7; i <= NF; i++) if ($i == "-" && $(i + 1) == "cgroup" && $NF ~ /(^|,)memory(,|$)/) { print $5; exit } }' \
        /proc/self/mountinfo)
[[ -e $memory/memory.kmem.tcp.limit_in_bytes ]] || skip "no memory controller of cgroup v1 with a limit for TCP"
limited=$memory/meshcut-test-$ID
mkdir "$limited"
trap 'rmdir "$limited" 2>/dev/null || true; cleanup' EXIT
echo 1M >"$limited/memory.kmem.tcp.limit_in_bytes"

configure_all
daemon_start_active
(
        echo "$BASHPID" >"$limited/cgroup.procs"
        at_exec receiver - python3 "$TOP/tests/tools/unread.py" receive "$SCRATCH/port"
) &
receiver=$!
eventually 5 test -s "$SCRATCH/port"
out=$(at sender - python3 "$TOP/tests/tools/unread.py" send "$SCRATCH/port") || fail "$out"
say "$out"
assert_ge "messages by shortcut" "$(counter socket.messages_shortcut)" 1
assert_ge "messages by TCP for want of memory" "$(counter socket.passed.memory)" 1
wait $receiver || fail "the receiver fails"
for ((i = 0; i < 40; i++)); do
        rmdir "$limited" 2>/dev/null && break
        sleep 0.1
done
