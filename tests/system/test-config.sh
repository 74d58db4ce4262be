#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A bad configuration is named by file, line and key: by --check, at start, and at reload, which keeps the old policy.
. "$(dirname "$0")/lib.sh"

need_daemon
conf=$SCRATCH/meshcut.conf

check() { "$MESHCUTD" --config="$conf" --check; }

# The tests' own section is lines 1 to 3.
bad() { # WHAT PATTERN, configuration on stdin
        configure
        assert_fails "--check: $1" "$2" check
        BAD+=("$1")
        PATTERNS+=("$2")
        cp "$conf" "$SCRATCH/bad${#BAD[@]}"
}
BAD=() PATTERNS=()

bad "bad CIDR" 'meshcut\.conf:6: \[Rule x\] Address: ' <<<$'[Rule x]\nAction=shortcut\nAddress=10.0.0.0/33'
bad "bad IPv6 CIDR" 'meshcut\.conf:6: \[Rule x\] Address: ' <<<$'[Rule x]\nAction=shortcut\nAddress=fd00::/8 fd00::zz/8'
bad "port 70000" 'meshcut\.conf:6: \[Rule x\] Port: ' <<<$'[Rule x]\nAction=shortcut\nPort=80 70000'
bad "range backwards" 'meshcut\.conf:5: \[Rule x\] Port: ' <<<$'[Rule x]\nPort=90-80\nAction=shortcut'
bad "bad action" 'meshcut\.conf:5: \[Rule x\] Action: ' <<<$'[Rule x]\nAction=perhaps'
bad "bad boolean" 'meshcut\.conf:4: \[Meshcut\] Socket: ' <<<$'Socket=perhaps\n[Rule x]\nAction=shortcut'
bad "bad size" 'meshcut\.conf:5: \[Socket\] MaxUnread: ' <<<$'[Socket]\nMaxUnread=much\n[Rule x]\nAction=shortcut'
bad "duplicate rule" 'meshcut\.conf:6: .*\[?Rule x' <<<$'[Rule x]\nAction=shortcut\n[Rule x]\nAction=leave'
bad "repeated key" 'meshcut\.conf:6: \[Rule x\] Action: ' <<<$'[Rule x]\nAction=shortcut\nAction=leave'
bad "over-long line" 'meshcut\.conf:6: ' <<<$'[Rule x]\nAction=shortcut\nPort='"$(yes 80 | head -n 50000 | tr '\n' ' ')"
bad "binary garbage" 'meshcut\.conf:[0-9]+: ' < <(printf '\177ELF\001\002\000\000\377\376[\000]=\n\033\201\000=\000\n')

warned() { # WHAT PATTERN
        local out
        configure
        out=$(check 2>&1) || fail "--check: $1: fails: $out"
        grep -Eq -- "$2" <<<"$out" || fail "--check: $1: says '$out', expected $2"
        say "--check: $1: warned of"
}
warned "unknown key" 'meshcut\.conf:6: .*Colour' <<<$'[Rule x]\nAction=shortcut\nColour=red'
warned "unknown section" 'meshcut\.conf:6: .*Palette' <<<$'[Rule x]\nAction=shortcut\n[Palette]\nColour=red'

configure_all
check >/dev/null 2>&1 || fail "--check refuses a good configuration"

# Root reads everything, but not a file that is a link to itself.
mkdir "$conf.d"
ln -s loop.conf "$conf.d/loop.conf"
assert_fails "--check: unreadable drop-in" 'loop\.conf' check
rm "$conf.d/loop.conf"
printf '[Rule mesh]\nPort=1-\n' >"$conf.d/10-port.conf"
assert_fails "--check: bad drop-in" '10-port\.conf:2: \[Rule mesh\] Port: ' check
rm -r "$conf.d"

start() {
        : >"$SCRATCH/daemon.log"
        if daemon_start; then return 0; fi
        cat "$SCRATCH/daemon.log"
        return 1
}
bus_start
for i in 0 $((${#BAD[@]} - 1)); do
        cp "$SCRATCH/bad$((i + 1))" "$conf"
        assert_fails "start: ${BAD[i]}" "${PATTERNS[i]}" start
done

configure_all
daemon_start_active
paired() {
        mark
        at host - "$TOOLS/rr" --seconds 0.2 >/dev/null
        since socket.connections_paired
}
assert_eq "good policy: paired" "$(paired)" 1

reload_error() {
        dbus-send --bus="$DBUS_SYSTEM_BUS_ADDRESS" --print-reply --dest=org.meshcut1 /org/meshcut1 org.meshcut1.Manager.Reload
}
for i in "${!BAD[@]}"; do
        cp "$SCRATCH/bad$((i + 1))" "$conf"
        assert_fails "reload: ${BAD[i]}" "org\.meshcut1\.Error\.InvalidConfiguration: .*${PATTERNS[i]}" reload_error
done
assert_eq "after bad reloads the old policy: paired" "$(paired)" 1
# SIGHUP too. It has no answer, so a call after it shows that it is over.
kill -HUP "$DAEMON_PID"
sleep 0.2
assert_eq "after a bad SIGHUP the old policy: paired" "$(paired)" 1

configure <<<$'[Rule mesh]\nAction=leave'
reload
assert_eq "policy reloaded to leave: paired" "$(paired)" 0
configure_all
kill -HUP "$DAEMON_PID"
good_again() { [[ $(paired) == 1 ]]; }
eventually 3 good_again || fail "SIGHUP did not bring the good policy back"
say "SIGHUP: applied"

say "what is missing is named"
daemon_stop
assert_fails "no CAP_BPF" '^CAP_BPF is missing: ' setpriv --bounding-set=-bpf "$MESHCUTD" --config="$SCRATCH/meshcut.conf"
configure_all
assert_fails "a state directory outside of a bpffs" 'not on a mounted bpffs' \
        "$MESHCUTD" --config="$SCRATCH/meshcut.conf" --state-dir="$SCRATCH/state"
