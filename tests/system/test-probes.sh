#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What the service sees of this kernel: every probe that the manual names is on the bus, tried or with the reason why not, and
# all of them together do not hold up the start.
. "$(dirname "$0")/lib.sh"

START_MSEC=1000

feature() { jq -r --arg name "$1" '.[] | select(.[0] == $name) | .[1]' <<<"$features"; }

configure_all
bus_start
before=$(ls /sys/module)
began=$(date +%s.%N)
daemon_start || fail "the daemon does not start"
# When READY=1 came in by the notification socket, not when this script saw it.
ready=$(stat -c %.9Y "$SCRATCH/notified")
took=$(calc "($ready - $began) * 1000")
say "milliseconds from start to READY=1, by the notification socket: $took"
# Most of it is reading the kernel's description of its types, in which an emulated processor is some fifty times slower.
if ((SLOW == 1)); then assert_le "that is" "$took" $START_MSEC; fi

say "$(busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" get-property org.meshcut1 /org/meshcut1 org.meshcut1.Manager Features)"
features=$(property Features)
jq -r '.[] | "  \(.[0]): \(if .[1] then "passed" else "-" end): \(.[2])"' <<<"$features" >&2
documented=$(sed -n '/^# FEATURES/,/^# EXAMPLES/s/^\*\([a-z-]*\)\*$/\1/p' "$TOP/dbus/org.meshcut1.5.scd" | sort)
assert_ge "documented probes" "$(wc -l <<<"$documented")" 18
assert_eq "probes on the bus" "$(jq -r '.[][0]' <<<"$features" | sort | paste -sd' ')" "$(paste -sd' ' <<<"$documented")"
[[ -z $(jq -r '.[] | select(.[2] == "")' <<<"$features") ]] || fail "a probe says nothing"
[[ -z $(jq -r '.[] | select(.[1] and (.[2] | startswith("not tried")))' <<<"$features") ]] || fail "passed without a try"

# All kernels of today, by what the shortcut cannot do without.
for name in kernel-version bpf-types request-sockets sockmap accounting tcp-after-redirect strict-netlink; do
        assert_eq "$name" "$(feature $name)" true
done
grep -Eq 'class K[123]' <<<"$features" || fail "no class of FIONREAD"
# A probe loads no module: whose that is is not ours to say.
assert_eq "modules that came" "$(comm -13 <(echo "$before") <(ls /sys/module) | paste -sd' ')" ""

grep -q 'Kernel probes: .* of .* passed' "$SCRATCH/daemon.log" || fail "no summary in the log: $(cat "$SCRATCH/daemon.log")"
if grep -q 'Kernel probe ' "$SCRATCH/daemon.log"; then fail "a line for each probe without --debug"; fi
[[ -z $(bpftool cgroup show "$CG_TOP/infra" 2>/dev/null) ]] || fail "the probes left something: $(bpftool cgroup show "$CG_TOP/infra")"
daemon_stop

say "with --debug"
: >"$SCRATCH/daemon.log"
NOTIFY_SOCKET=$SCRATCH/notify at_exec "$CG_TOP/infra" - "$MESHCUTD" --debug --config="$SCRATCH/meshcut.conf" \
        --state-dir="$SCRATCH/bpf/meshcut" >>"$SCRATCH/daemon.log" 2>&1 &
DAEMON_PID=$!
told() { (($(grep -c 'Kernel probe ' "$SCRATCH/daemon.log") >= $(wc -l <<<"$documented"))); }
eventually 20 told || fail "not a line for each probe: $(cat "$SCRATCH/daemon.log")"
daemon_stop

say "with the capabilities of the unit alone"
: >"$SCRATCH/notified"
NOTIFY_SOCKET=$SCRATCH/notify at_exec "$CG_TOP/infra" - setpriv --inh-caps=-all --bounding-set=-all,+bpf,+net_admin,+net_broadcast,+perfmon \
        "$MESHCUTD" --config="$SCRATCH/meshcut.conf" --state-dir="$SCRATCH/bpf/meshcut" >>"$SCRATCH/daemon.log" 2>&1 &
DAEMON_PID=$!
eventually 20 daemon_ready_or_gone
daemon_running || fail "the daemon does not start: $(cat "$SCRATCH/daemon.log")"
limited=$(property Features)
# bpf_probe_write_user() is for CAP_SYS_ADMIN alone, and only 6.1 needs it.
without() { jq -c 'map(select(.[0] != "write-user" and .[0] != "fionread-fix") | .[:2])'; }
assert_eq "what passes without CAP_SYS_ADMIN" "$(without <<<"$limited")" "$(without <<<"$features")"
say "write-user: $(jq -c '.[] | select(.[0] == "write-user")' <<<"$limited")"
if [[ $(feature write-user) == true ]]; then
        grep -q 'CAP_SYS_ADMIN' <<<"$limited" || fail "it does not say what is missing: $limited"
fi
