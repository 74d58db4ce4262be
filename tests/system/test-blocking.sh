#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Who blocks? A listener's mode says little of the sockets that it accepts: these are looked at on TCP, and what they do is
# remembered. PostgreSQL, whose listener blocks, takes the shortcut without AllowBlocking=.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mesh.sh"

configure_all
daemon_start_active

coproc LISTENER { at_exec server - python3 "$TOP/tests/tools/listener.py"; }
say "a blocking listener"
connections() { # MODE COUNT SECONDS
        local answer
        mark
        echo "$*" >&"${LISTENER[1]}"
        read -r -t $((30 * SLOW)) answer <&"${LISTENER[0]}" && [[ $answer == "done" ]] ||
                fail "$*: ${answer:-no answer}"
}

connections nonblocking 4 0
assert_eq "the first are left as blocking" "$(since socket.connections_left.blocking)" 4
assert_eq "and not paired" "$(since socket.connections_paired)" 0
connections nonblocking 5 0
assert_eq "the next, which do not block, are paired" "$(since socket.connections_paired)" 5
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 20
assert_eq "left as blocking" "$(since socket.connections_left.blocking)" 0

say "it changes its habits"
connections blocking 1 1.5
assert_eq "paired by what was known" "$(since socket.connections_paired)" 1
assert_ge "but messages to it go by TCP" "$(since socket.passed.blocking)" 5
assert_eq "and it is put back there" "$(since socket.demoted)" 1
connections blocking 3 0
assert_eq "the next are left" "$(since socket.connections_left.blocking)" 3
connections nonblocking 4 0
assert_eq "until so many in a row do not block" "$(since socket.connections_left.blocking)" 4
connections nonblocking 1 0
assert_eq "and then paired again" "$(since socket.connections_paired)" 1
listener_end() {
        eval "exec ${LISTENER[1]}>&-"
        wait "$LISTENER_PID" || fail "the listener ends with $?"
}
listener_end

say "a listener that always accepts blocking sockets"
coproc LISTENER { at_exec blocks - python3 "$TOP/tests/tools/listener.py"; }
connections blocking 8 0
assert_eq "all are left" "$(since socket.connections_left.blocking)" 8
listener_end

say "PostgreSQL"
ns_add b
mesh_postgres
eventually 20 listening b 5432 || fail "PostgreSQL does not start: $(cat "$SCRATCH/postgres.log")"
mark
# A connection for each of 20 transactions.
at client b pgbench -h 127.0.0.1 -U postgres -i -q postgres >"$SCRATCH/out" 2>&1 || fail "pgbench: $(cat "$SCRATCH/out")"
at client b pgbench -h 127.0.0.1 -U postgres -S -C -t 20 postgres >"$SCRATCH/out" 2>&1 || fail "pgbench: $(cat "$SCRATCH/out")"
say "left: $(since socket.connections_left.blocking), paired: $(since socket.connections_paired), put back: $(since socket.demoted)"
assert_le "connections left as blocking" "$(since socket.connections_left.blocking)" 8
assert_ge "connections paired" "$(since socket.connections_paired)" 12
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 50
# The first message can be there before the server has set the mode.
assert_le "messages that met a blocking receiver" "$(since socket.passed.blocking)" 22
assert_eq "connections put back for it" "$(since socket.demoted)" 0
