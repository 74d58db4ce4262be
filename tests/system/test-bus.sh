#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What the bus promises: methods, errors, properties, who may what, and what outlives a crash.
. "$(dirname "$0")/lib.sh"

configure_all
daemon_start_active

send() { # METHOD ARGS...
        local method=$1
        shift
        dbus-send --bus="$DBUS_SYSTEM_BUS_ADDRESS" --print-reply --dest=org.meshcut1 /org/meshcut1 \
                "org.meshcut1.Manager.$method" "$@"
}
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
paired() {
        mark
        at host - "$TOOLS/rr" --seconds 0.2 >/dev/null
        since socket.connections_paired
}

assert_eq "Version" "$(property Version)" "$("$MESHCUTD" --version | grep -Eo '[0-9]+\.[0-9]+[0-9.]*' | head -n 1)"
assert_eq "CgroupRoot" "$(property CgroupRoot)" "$CG"
property ConfigurationFiles | grep -qF "$SCRATCH/meshcut.conf" || fail "ConfigurationFiles: $(property ConfigurationFiles)"
assert_ge "Features" "$(property Features | jq length)" 1
say "VethShortcut: $(property VethShortcut): $(property VethShortcutReason)"

busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" introspect --xml-interface org.meshcut1 /org/meshcut1 |
        "$TOP/tests/tools/same-interface.py" org.meshcut1.Manager "$TOP/dbus/org.meshcut1.xml" >&2 ||
        fail "the interface is not that of dbus/org.meshcut1.xml"

assert_eq "paired" "$(paired)" 1
disable
assert_eq "SocketShortcut after Disable" "$(property SocketShortcut)" disabled
assert_eq "paired when disabled" "$(paired)" 0
disable
enable
enable
assert_eq "SocketShortcut after Enable" "$(property SocketShortcut)" active
assert_eq "paired when enabled" "$(paired)" 1

# A change in one call that names something unknown is no change at all.
assert_fails "Enable of an unknown shortcut" '^Error org\.meshcut1\.Error\.NoSuchShortcut' send Enable array:string:nonsense
assert_fails "Disable of an unknown shortcut" '^Error org\.meshcut1\.Error\.NoSuchShortcut' \
        send Disable array:string:socket,nonsense
assert_eq "SocketShortcut after errors" "$(property SocketShortcut)" active

say "while a connection lives"
ns_add host
at_exec server host "$TOOLS/rr" --listen 127.0.0.1:7001 &
eventually 5 listening host 7001
at_exec client host "$TOOLS/rr" --connect 127.0.0.1:7001 --seconds $((3 * SLOW)) >"$SCRATCH/rr" &
client=$!
sleep 1
assert_eq "connections active" "$(counter socket.connections_active)" 1
assert_eq "ListConnections" "$(bus_call ListConnections u 100 | jq '.data[0] | length')" 1
say "$(bus_call ListConnections u 100 | jq -c '.data[0][0] | map_values(.data)')"
grep -qF 7001 <<<"$(bus_call ListConnections u 100)" || fail "ListConnections does not name the port"
rules=$(bus_call GetRuleStatistics | jq -c '.data[0]')
jq -e 'map(select(.[0] == "mesh")) | length == 1' <<<"$rules" >/dev/null || fail "GetRuleStatistics: $rules"
wait $client || fail "the connection broke"
inactive() { [[ $(counter socket.connections_active) == 0 ]]; }
eventually 5 inactive || fail "connections active after all: $(counter socket.connections_active)"

say "who may what"
as_nobody busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call org.meshcut1 /org/meshcut1 org.meshcut1.Manager GetStatistics \
        >/dev/null || fail "nobody may not read the statistics"
as_nobody busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" get-property org.meshcut1 /org/meshcut1 org.meshcut1.Manager \
        SocketShortcut >/dev/null || fail "nobody may not read a property"
for call in "Disable as 1 socket" "Enable as 1 socket" Reload "ListConnections u 1"; do
        # shellcheck disable=SC2086
        assert_fails "nobody: $call" "Access denied" as_nobody busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --timeout=5 call \
                org.meshcut1 /org/meshcut1 org.meshcut1.Manager $call
done
assert_eq "SocketShortcut after nobody tried" "$(property SocketShortcut)" active

say "a crash does not undo Disable, a stop does"
disable
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
daemon_start || fail "no start after a crash"
assert_eq "SocketShortcut after a crash" "$(property SocketShortcut)" disabled
daemon_stop
[[ ! -e $SCRATCH/bpf/meshcut || -z $(ls -A "$SCRATCH/bpf/meshcut") ]] || fail "pins after a stop: $(ls -R "$SCRATCH/bpf/meshcut")"
[[ -z $(bpftool cgroup show "$CG" 2>/dev/null) ]] || fail "attached after a stop: $(bpftool cgroup show "$CG")"
daemon_start || fail "no start after a stop"
assert_eq "SocketShortcut after a stop" "$(property SocketShortcut)" active

say "the log's level at run time"
log_property() { busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" "$1" org.meshcut1 /org/freedesktop/LogControl1 org.freedesktop.LogControl1 "${@:2}"; }
assert_eq "LogLevel" "$(log_property get-property LogLevel)" 's "info"'
assert_eq "LogTarget" "$(log_property get-property LogTarget)" 's "console"'
assert_eq "SyslogIdentifier" "$(log_property get-property SyslogIdentifier)" 's "meshcutd"'
log_property set-property LogLevel s warning
assert_eq "LogLevel" "$(log_property get-property LogLevel)" 's "warning"'
: >"$SCRATCH/daemon.log"
disable
enable
assert_eq "what it logs of Disable" "$(cat "$SCRATCH/daemon.log")" ''
log_property set-property LogLevel s debug
disable
grep -q 'socket is disabled' "$SCRATCH/daemon.log" || fail "it logs nothing at debug: $(cat "$SCRATCH/daemon.log")"
log_property set-property LogTarget s null
: >"$SCRATCH/daemon.log"
enable
assert_eq "what it logs to null" "$(cat "$SCRATCH/daemon.log")" ''
log_property set-property LogTarget s auto
assert_eq "LogTarget" "$(log_property get-property LogTarget)" 's "console"'
assert_fails "a level that there is not" 'Invalid log level' log_property set-property LogLevel s loud
assert_fails "a target that there is not" 'Invalid log target' log_property set-property LogTarget s printer
as_nobody busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" get-property org.meshcut1 /org/freedesktop/LogControl1 \
        org.freedesktop.LogControl1 LogLevel >/dev/null || fail "nobody may not read the log's level"
assert_fails "nobody: LogLevel" 'denied' as_nobody busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" set-property org.meshcut1 \
        /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel s emerg
assert_eq "LogLevel" "$(log_property get-property LogLevel)" 's "debug"'
