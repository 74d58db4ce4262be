# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash

# A place of its own for each test: scratch directory, bpffs, cgroups, bus and daemon. Every name holds the test's id, so
# tests can run beside each other, and cleanup knows what is ours. Sourced.
#
#   $CG_TOP           everything of this test
#   $CG_TOP/hosts     $CG, the CgroupRoot= of the daemon: what it may shortcut
#   $CG_TOP/outside   peers that the daemon must take for another host
#   $CG_TOP/infra     daemon and bus

set -euo pipefail

TOP=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
BUILD=${MESHCUT_BUILD:-$TOP/build}
# shellcheck disable=SC2034 # for the tests
TOOLS=$BUILD/tests/tools
MESHCUTD=$BUILD/daemon/meshcutd
ID=${MESHCUT_RUN:-}$(od -An -N3 -tx1 /dev/urandom | tr -d ' ')
SLOW=${MESHCUT_SLOW:-1} # how much more time everything needs than on a real processor
DAEMON_PID=
BUS_PID=
SCRATCH=

export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

say() { echo "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }
skip() { say "skipped: $*"; exit 77; }

[[ $EUID == 0 ]] || skip "needs root"

CGROUP2=$(awk '{ for (i = 7; i <= NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)
[[ -n $CGROUP2 ]] || skip "no cgroup v2 is mounted"
CG_TOP=$CGROUP2/meshcut-test-$ID
CG=$CG_TOP/hosts

# ---- life ----

# Removes everything, in the one order that works: the daemon detaches its programs, the rest of the processes goes, then
# what they held.
cleanup() {
        local status=$? name dir i
        trap - EXIT
        trap '' INT TERM HUP
        set +e

        daemon_stop
        if ((status != 0 && status != 77)) && [[ -s $SCRATCH/daemon.log ]]; then
                say "---- the daemon's log"
                tail -n 60 "$SCRATCH/daemon.log" >&2
        fi
        # The shell would report each of its jobs as killed.
        exec 2>/dev/null
        if [[ -d $CG_TOP ]]; then
                echo 1 >"$CG_TOP/cgroup.kill"
                for ((i = 0; i < 100; i++)); do
                        grep -q 'populated 0' "$CG_TOP/cgroup.events" && break
                        sleep 0.05
                done
        fi
        for name in /run/netns/meshcut-"$ID"-*; do
                [[ -e $name ]] && ip netns del "${name##*/}"
        done
        if [[ -n $SCRATCH ]]; then
                mountpoint -q "$SCRATCH/bpf" && umount "$SCRATCH/bpf"
                rm -rf --one-file-system "$SCRATCH"
        fi
        # Children first. A cgroup whose last process has just died can be busy for a moment.
        for ((i = 0; i < 40; i++)); do
                [[ -d $CG_TOP ]] || break
                find "$CG_TOP" -depth -type d 2>/dev/null | while read -r dir; do rmdir "$dir" 2>/dev/null; done
                [[ -d $CG_TOP ]] && sleep 0.05
        done
        exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

SCRATCH=$(mktemp -d "/tmp/meshcut-test-$ID-XXXXXX")
chmod 0711 "$SCRATCH" # other users reach the bus, and PostgreSQL its data
mkdir -p "$SCRATCH/bpf" "$CG" "$CG_TOP/outside" "$CG_TOP/infra"
mount -t bpf bpf "$SCRATCH/bpf"

# ---- where commands run ----

# at_exec CGROUP NS CMD...: CGROUP is below $CG unless it starts with /; NS is a name given to ns_add, or - for none. Only the
# network namespace is entered (`ip netns exec` would hide the cgroup tree). Replaces the shell, so that in the background
# $! is CMD's PID.
at_exec() {
        local cgroup=$1 ns=$2
        shift 2
        [[ $cgroup == /* ]] || cgroup=$CG/$cgroup
        mkdir -p "$cgroup"
        [[ $ns == - ]] || set -- nsenter --net="/run/netns/meshcut-$ID-$ns" "$@"
        # shellcheck disable=SC2016
        exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@"
}

at() {
        (at_exec "$@")
}

in_cgroup() {
        local cgroup=$1
        shift
        at "$cgroup" - "$@"
}

ns_add() {
        local name
        for name; do
                ip netns add "meshcut-$ID-$name"
                ip -n "meshcut-$ID-$name" link set lo up
        done
}

# in_ns NS CMD...: in the namespace, outside of all test cgroups. For set-up.
in_ns() {
        local ns=$1
        shift
        nsenter --net="/run/netns/meshcut-$ID-$ns" "$@"
}

# ns_link A B SUBNET: a veth pair, SUBNET.1 and .2, fd77:SUBNET::1 and ::2 with the dots as colons.
ns_link() {
        local a=meshcut-$ID-$1 b=meshcut-$ID-$2 v4=$3 v6=fd77:${3//./:}
        ip -n "$a" link add eth0 type veth peer name eth0 netns "$b"
        ip -n "$a" addr add "$v4.1/24" dev eth0
        ip -n "$b" addr add "$v4.2/24" dev eth0
        ip -n "$a" addr add "$v6::1/64" dev eth0 nodad
        ip -n "$b" addr add "$v6::2/64" dev eth0 nodad
        ip -n "$a" link set eth0 up
        ip -n "$b" link set eth0 up
}

# eventually SECONDS CMD...: true as soon as CMD is.
eventually() {
        local end=$((SECONDS + $1 * SLOW))
        shift
        until "$@"; do
                ((SECONDS < end)) || return 1
                sleep 0.05
        done
}

listening() { # NS PORT
        local out
        out=$(in_ns "$1" ss -Hltn "sport = :$2")
        [[ -n $out ]]
}

# ---- bus and daemon ----

export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$SCRATCH/bus

bus_start() {
        local conf=$TOP/dbus/org.meshcut1.conf
        cat >"$SCRATCH/bus.conf" <<-EOF
		<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
		<busconfig>
		  <type>system</type>
		  <listen>unix:path=$SCRATCH/bus</listen>
		  <auth>EXTERNAL</auth>
		  <policy context="default">
		    <allow user="*"/>
		    <deny own="*"/>
		    <deny send_type="method_call"/>
		    <allow send_type="signal"/>
		    <allow send_requested_reply="true" send_type="method_return"/>
		    <allow send_requested_reply="true" send_type="error"/>
		    <allow receive_type="method_call"/>
		    <allow receive_type="method_return"/>
		    <allow receive_type="error"/>
		    <allow receive_type="signal"/>
		    <allow send_destination="org.freedesktop.DBus"/>
		  </policy>
		  <policy user="root">
		    <allow own="*"/>
		    <allow send_destination="*"/>
		  </policy>
		  <include ignore_missing="yes">$conf</include>
		</busconfig>
	EOF
        at_exec "$CG_TOP/infra" - dbus-daemon --config-file="$SCRATCH/bus.conf" --nofork --nopidfile --nosyslog \
                >"$SCRATCH/bus.log" 2>&1 &
        BUS_PID=$!
        eventually 5 test -S "$SCRATCH/bus" || fail "the bus does not start: $(cat "$SCRATCH/bus.log")"
        # All that the daemon would tell systemd.
        [[ ! -S $SCRATCH/notify ]] || return 0
        at_exec "$CG_TOP/infra" - socat -u "UNIX-RECV:$SCRATCH/notify" "OPEN:$SCRATCH/notified,creat,append" &
        eventually 5 test -S "$SCRATCH/notify"
}

# configure <RULES: the tests' usual [Meshcut] section, then what comes on stdin (which may begin with more keys of it).
configure() {
        {
                printf '[Meshcut]\nCgroupRoot=%s\nAllowQuirks=%s\n' "$CG" "${MESHCUT_QUIRKS:-splice}"
                cat
        } >"$SCRATCH/meshcut.conf"
}

configure_all() {
        configure <<-'EOF'
		[Rule mesh]
		Action=shortcut
	EOF
}

need_daemon() {
        [[ -x $MESHCUTD ]] || skip "$MESHCUTD is not built"
}

daemon_running() { [[ -n $DAEMON_PID ]] && kill -0 "$DAEMON_PID" 2>/dev/null; }
# Datagrams end without a newline, and the last one of the daemon before can be late: not always at the start of a line.
daemon_ready() { grep -q 'READY=1' "$SCRATCH/notified" 2>/dev/null; }
daemon_ready_or_gone() { daemon_ready || ! daemon_running; }

# Starts the daemon, and does not wait for anything.
daemon_launch() {
        need_daemon
        [[ -S $SCRATCH/bus ]] || bus_start
        : >"$SCRATCH/notified"
        NOTIFY_SOCKET=$SCRATCH/notify at_exec "${CG_DAEMON:-$CG_TOP/infra}" "${NS_DAEMON:--}" "$MESHCUTD" --config="$SCRATCH/meshcut.conf" \
                --state-dir="$SCRATCH/bpf/meshcut" >>"$SCRATCH/daemon.log" 2>&1 &
        DAEMON_PID=$!
}

# Returns 1 if the daemon ends instead of getting ready.
daemon_start() {
        daemon_launch
        eventually 20 daemon_ready_or_gone || fail "the daemon is not ready after 20 s"
        daemon_running
}

daemon_kill() {
        kill -KILL "$DAEMON_PID" 2>/dev/null || true
        wait "$DAEMON_PID" 2>/dev/null || true
}

# The daemon, on, with the socket shortcut active; a kernel that has not got it makes the test a skip.
daemon_start_active() {
        local reason
        daemon_start || fail "the daemon does not start"
        [[ $(property SocketShortcut) == active ]] && return
        reason=$(property SocketShortcutReason)
        skip "socket shortcut: $(property SocketShortcut): $reason"
}

daemon_stop() {
        [[ -n $DAEMON_PID ]] || return 0
        local pid=$DAEMON_PID i
        DAEMON_PID=
        kill -TERM "$pid" 2>/dev/null || true
        for ((i = 0; i < 200; i++)); do
                kill -0 "$pid" 2>/dev/null || break
                sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
}

bus_call() { # METHOD [SIGNATURE ARGS...]
        busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short --timeout=30 call \
                org.meshcut1 /org/meshcut1 org.meshcut1.Manager "$@"
}

property() {
        busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short get-property \
                org.meshcut1 /org/meshcut1 org.meshcut1.Manager "$1" | jq -r .data
}

enable() { bus_call Enable as 1 "${1:-socket}" >/dev/null; }
disable() { bus_call Disable as 1 "${1:-socket}" >/dev/null; }
reload() { bus_call Reload >/dev/null; }
statistics() { bus_call GetStatistics | jq -S '.data[0]'; }

# A counter; 0 if there is none by that name yet.
counter() { bus_call GetStatistics | jq -r --arg name "$1" '.data[0][$name] // 0'; }
# The sum of all counters that begin so.
counters() { bus_call GetStatistics | jq -r --arg name "$1" '[.data[0] | to_entries[] | select(.key | startswith($name)) | .value] | add // 0'; }

# mark: remembers all counters. since NAME: what was added to one.
mark() { statistics >"$SCRATCH/mark.json"; }
since() {
        local before
        before=$(jq -r --arg name "$1" '.[$name] // 0' "$SCRATCH/mark.json")
        echo $(($(counter "$1") - before))
}

# ---- judging ----

assert_eq() { # WHAT ACTUAL EXPECTED
        [[ $2 == "$3" ]] || fail "$1: $2, expected $3"
        say "$1: $2"
}
assert_ge() {
        awk -v a="$2" -v b="$3" 'BEGIN { exit !(a >= b) }' || fail "$1: $2, expected at least $3"
        say "$1: $2 (at least $3)"
}
assert_le() {
        awk -v a="$2" -v b="$3" 'BEGIN { exit !(a <= b) }' || fail "$1: $2, expected at most $3"
        say "$1: $2 (at most $3)"
}
assert_fails() { # WHAT PATTERN CMD...: CMD fails, and what it says matches the extended regular expression
        local what=$1 pattern=$2 out
        shift 2
        if out=$("$@" 2>&1); then
                fail "$what: succeeds"
        fi
        grep -Eq -- "$pattern" <<<"$out" || fail "$what: says '$out', expected $pattern"
        say "$what: fails as it should"
}

# field NAME <LINE: the value of NAME=VALUE.
field() { tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1; }
# calc EXPRESSION: awk's arithmetic.
calc() { awk "BEGIN { printf \"%.3f\", $* }"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
