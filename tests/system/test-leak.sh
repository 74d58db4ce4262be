#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A test that is interrupted leaves nothing behind, whenever and however.
. "$(dirname "$0")/lib.sh"

leftovers=$TOP/tests/system/leftovers

cat >"$SCRATCH/victim" <<EOF
. "$TOP/tests/system/lib.sh"
. "$TOP/tests/system/mesh.sh"
echo begun >"$SCRATCH/begun"
configure_all
[[ ! -x \$MESHCUTD ]] || daemon_start
mesh_up
echo up >"$SCRATCH/up"
for ((;;)); do mesh_wrk 4 1 >/dev/null; done
EOF

# interrupt SIGNAL WHEN: once the file WHEN is there.
interrupt() {
        # A prefix that this test's own things do not have.
        local prefix=v$ID$1 pid status
        rm -f "$SCRATCH/begun" "$SCRATCH/up"
        # Background jobs of a shell ignore SIGINT, and bash cannot trap what it was born ignoring.
        MESHCUT_RUN=$prefix env --default-signal=INT,TERM,HUP bash "$SCRATCH/victim" >"$SCRATCH/log" 2>&1 &
        pid=$!
        eventually 30 test -e "$SCRATCH/$2" || fail "the victim does not come up: $(cat "$SCRATCH/log")"
        if "$leftovers" "$prefix" >/dev/null; then fail "nothing is found while the victim runs"; fi
        kill "-$1" $pid
        wait $pid && status=0 || status=$?
        assert_ge "SIG$1 when $2: exit status" $status 129
        "$leftovers" "$prefix" >&2 || fail "left behind after SIG$1 when $2"
        say "SIG$1 when $2: nothing left"
}

interrupt INT up
interrupt TERM up
interrupt HUP up
interrupt TERM begun
interrupt INT begun
