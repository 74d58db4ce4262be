#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What applications see of their sockets, by TCP and by shortcut: as shipped or, where that is refused, with the quirk
# accepted that the service asks for. Prints the table. Blocking sockets run once as shipped, which leaves them alone, and
# once with AllowBlocking=yes.
. "$(dirname "$0")/lib.sh"

PLAIN=7001 SHORTCUT=7002 BLOCKING=7003 # in a network namespace of its own

configured() { # QUIRKS
        cat >"$SCRATCH/meshcut.conf" <<-EOF
		[Meshcut]
		CgroupRoot=$CG
		AllowQuirks=$1
		[Rule plain]
		Action=leave
		Port=$PLAIN
		[Rule shortcut]
		Action=shortcut
		Port=$SHORTCUT
		[Rule blocking]
		Action=shortcut
		Port=$BLOCKING
		AllowBlocking=yes
	EOF
}

for quirks in "" splice "splice fionread"; do
        configured "$quirks"
        daemon_start || fail "the daemon does not start"
        state=$(property SocketShortcut)
        say "$(uname -r), ${quirks:+AllowQuirks=}${quirks:-as shipped}: $state $(property SocketShortcutReason)"
        [[ $state == active ]] && break
        daemon_stop
done
[[ $state == active ]] || skip "the socket shortcut is $state with all quirks accepted"

ns_add conf
modprobe -q tls || true # kTLS, where it is a module
mkdir "$CG/rows"
at "$CG_TOP/infra" conf "$TOOLS/conformance" --cgroup="$CG/rows" --plain=127.0.0.1:$PLAIN \
        --shortcut=127.0.0.1:$SHORTCUT --blocking=127.0.0.1:$BLOCKING "$@" >"$SCRATCH/table" || { cat "$SCRATCH/table"; fail "see above"; }
cat "$SCRATCH/table" >&2

# What must not hang: with the guard each way to splice is refused, and not just without result.
guard=$(property Features | jq -r '.[] | select(.[0] == "splice-guard" and .[1]) | .[2]')
if [[ -n $guard && $# == 0 ]]; then
        for row in splice-from splice-32-bit splice-sendfile $([[ $guard == *io_splice* ]] && echo splice-io-uring); do
                grep -qE "^$row +(differs .*: EINVAL; |not here )" "$SCRATCH/table" || fail "$row is not refused"
        done
fi
