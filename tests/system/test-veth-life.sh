#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The life of the veth shortcut: it goes on without its daemon, a new one takes it over, what was said at run time outlives a
# crash and not a stop, --off needs nobody, and a reload moves devices in and out.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

host_add host
NS_DAEMON=host
bridge_add host br0 1
container_add host a 1 1 br0
container_add host b 1 2 br0
configure_veth direct
daemon_start_veth
attached vea veb

at_exec b b "$TOOLS/udp" --listen 10.88.1.2:7003 &
at_exec a a "$TOOLS/udp" --connect 10.88.1.2:7003 --seconds $((60 * SLOW)) >/dev/null &
traffic=$!
sleep 0.5

crash() {
        kill -KILL "$DAEMON_PID"
        wait "$DAEMON_PID" 2>/dev/null || true
}
programs() { bpftool -j prog show pinned "$SCRATCH/bpf/meshcut/veth/ingress" | jq .id; }
# Packets that a program has moved cannot be asked of a daemon that is dead: by the other way in, the pinned map.
moved() { bpftool -j map dump pinned "$SCRATCH/bpf/meshcut/veth/veth_traffic" | jq '[.[].formatted.values[].value.packets] | add'; }

say "a crash"
before=$(counter veth.packets_shortcut) program=$(programs)
crash
first=$(moved)
sleep 0.5
assert_ge "packets without a daemon" $(($(moved) - first)) "$(many 1000)"
daemon_start_veth
attached vea veb
assert_eq "the program" "$(programs)" "$program"
assert_ge "packets, counted on" "$(counter veth.packets_shortcut)" $((before + $(many 1000)))
mark
sleep 0.5
assert_ge "packets with the new daemon" "$(since veth.packets_shortcut)" "$(many 1000)"

say "while nobody looks a device goes and another comes"
crash
container_add host c 1 3 br0
ip -n "meshcut-$ID-host" link add vegone type veth peer name eth9 netns "meshcut-$ID-c"
daemon_start_veth
attached vec vegone
crash
ip -n "meshcut-$ID-host" link del vegone
daemon_start_veth
attached vea veb vec
assert_eq "vegone" "$(veth vegone State)" ""

say "Disable outlives a crash, and not a stop"
disable veth
crash
daemon_start || fail "no start after a crash"
assert_eq "VethShortcut after a crash" "$(property VethShortcut)" disabled
mark
sleep 0.3
assert_eq "packets" "$(since veth.packets_shortcut)" 0
daemon_stop
[[ ! -e $SCRATCH/bpf/meshcut ]] || fail "pins after a stop: $(find "$SCRATCH/bpf/meshcut")"
daemon_start_veth
attached vea veb

say "Enable where the configuration says no, and the reverse by a reload"
configure_veth direct
sed -i 's/^Veth=yes/Veth=no/' "$SCRATCH/meshcut.conf"
reload
assert_eq "VethShortcut" "$(property VethShortcut)" disabled
assert_eq "objects" "$(veths_json | jq '.data[0] | map(select(.["org.meshcut1.Veth"])) | length')" 0
enable veth
assert_eq "VethShortcut" "$(property VethShortcut)" active
attached vea
crash
daemon_start_veth

say "a reload moves devices in and out"
configure_veth direct 'Interfaces=vea vec'
reload
eventually 5 veth_is veb State left || fail "veb: $(veth veb State)"
assert_eq "vea" "$(veth vea State)" attached
mark
sleep 0.3
assert_eq "packets to a device that is out" "$(since veth.packets_shortcut)" 0
configure_veth direct
reload
attached veb
mark
sleep 0.5
assert_ge "packets" "$(since veth.packets_shortcut)" "$(many 500)"
sed -i 's/^Mode=direct/Mode=nonsense/' "$SCRATCH/meshcut.conf"
assert_fails "a reload with a mistake" 'neither established nor direct' reload
assert_eq "VethShortcut" "$(property VethShortcut)" active

say "off without a daemon"
crash
in_ns host "$MESHCUTD" --off --state-dir="$SCRATCH/bpf/meshcut"
[[ ! -e $SCRATCH/bpf/meshcut ]] || fail "pins after --off: $(find "$SCRATCH/bpf/meshcut")"
[[ -z $(in_ns host bpftool net | grep meshcut || true) ]] || fail "attached after --off"
[[ -z $(in_ns host tc filter show dev vea ingress) ]] || fail "a filter after --off"
kill -0 $traffic || fail "the traffic broke"
