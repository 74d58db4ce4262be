#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What Prometheus gets: valid text, the numbers of the bus, nothing by halves; and a dashboard that asks for what is there.
. "$(dirname "$0")/lib.sh"

ctl=$BUILD/dbus/meshcutctl
samples() { "$TOP/tests/tools/openmetrics.py" || fail "that is no OpenMetrics"; }
sample() { jq -r --arg name "$1" '.[$name] // "none"' "$SCRATCH/samples"; }

bus_start
"$ctl" metrics >"$SCRATCH/text" || fail "metrics without a service fails"
samples <"$SCRATCH/text" >"$SCRATCH/samples"
assert_eq "without a service" "$(jq -c . "$SCRATCH/samples")" '{"meshcut_up":0}'

configure <<-'EOT'
	[Rule first]
	Cgroup=/host
	[Rule "quoted" rule]
	Port=9
EOT
daemon_start_active
at host - "$TOOLS/rr" --seconds 0.3 >/dev/null
inactive() { [[ $(counter socket.connections_active) == 0 ]]; }
eventually 5 inactive || fail "connections active after all"

"$ctl" metrics --output="$SCRATCH/meshcut.prom" || fail "metrics --output= fails"
assert_eq "mode of the file" "$(stat -c %a "$SCRATCH/meshcut.prom")" 644
samples <"$SCRATCH/meshcut.prom" >"$SCRATCH/samples"
assert_eq "meshcut_up" "$(sample meshcut_up)" 1
assert_eq "version" "$(sample "meshcut_build_info{version=$(property Version)}")" 1
assert_eq "state" "$(sample 'meshcut_shortcut_state{shortcut=socket,state=active}')" 1
assert_eq "another state" "$(sample 'meshcut_shortcut_state{shortcut=socket,state=refused}')" 0

# The same numbers under other names. Nothing moves now, but for what other tests do on this host: connections left alone.
statistics | jq 'to_entries | map({
        key: (.key | capture("^(?<family>[^.]+[.][^.]+)([.](?<reason>.*))?$") |
                "meshcut_" + (.family | gsub("[.]"; "_")) + (if .family == "socket.connections_active" then "" else "_total" end) +
                (if .reason then "{reason=" + .reason + "}" else "" end)),
        value }) | from_entries' >"$SCRATCH/expected"
assert_ge "counters" "$(jq length "$SCRATCH/expected")" 20
differing=$(jq -c --slurpfile there "$SCRATCH/samples" \
        'to_entries | map(select(.key | contains("connections_left") | not) | select($there[0][.key] != .value))' "$SCRATCH/expected")
assert_eq "that differ" "$differing" '[]'
missing=$(jq -c --slurpfile there "$SCRATCH/samples" 'keys - ($there[0] | keys)' "$SCRATCH/expected")
assert_eq "that are missing" "$missing" '[]'
assert_ge "by rule" "$(sample 'meshcut_rule_socket_messages_shortcut_total{rule=first}')" 1
assert_eq "by rule and reason" "$(sample 'meshcut_rule_socket_passed_total{rule=first,reason=zerocopy}')" 0
assert_eq "by a rule with quotes" "$(sample 'meshcut_rule_socket_bytes_shortcut_total{rule=\"quoted\" rule}')" 0

say "a reader finds all or nothing"
for ((i = 0; i < 100; i++)); do "$ctl" metrics -o "$SCRATCH/meshcut.prom" || exit 1; done &
writer=$!
for ((i = 0; i < 300; i++)); do
        [[ $(tail -n 1 "$SCRATCH/meshcut.prom") == "# EOF" ]] || fail "a reader found a part of the file"
done
wait $writer || fail "the writer fails"
assert_eq "files" "$(ls "$SCRATCH" | grep -c '^meshcut\.prom')" 1
assert_fails "a directory that is not there" 'No such file' "$ctl" metrics -o "$SCRATCH/nowhere/meshcut.prom"

say "the dashboard asks for what is there"
"$ctl" metrics | sed -n 's/^\(meshcut_[a-z_]*\).*/\1/p' | sort -u >"$SCRATCH/names"
jq -r '.panels[].targets[].expr, .templating.list[].query.query? // empty' "$TOP/units/grafana-dashboard.json" |
        grep -o 'meshcut_[a-z_]*' | sort -u >"$SCRATCH/asked"
assert_ge "metrics asked for" "$(wc -l <"$SCRATCH/asked")" 10
assert_eq "that there are not" "$(comm -23 "$SCRATCH/asked" "$SCRATCH/names")" ''

# Whoever may read the statistics may write metrics of them.
setpriv --reuid nobody --regid nogroup --clear-groups "$ctl" metrics >"$SCRATCH/text" || fail "nobody gets no metrics"
samples <"$SCRATCH/text" >/dev/null
