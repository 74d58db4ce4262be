# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash

# A host of its own for tests of the veth shortcut: a network namespace in which the daemon runs, and containers behind
# veths. Sourced after lib.sh.
#
# Container N has 10.88.DOMAIN.N and fd88:DOMAIN::N; the host, or the bridge, has N = 254 (IPv6: ::fe).

# many N: that many packets, or as many as an emulated processor moves in the time.
many() { echo $((SLOW > 1 ? ($1 + 99) / 100 : $1)); }

# missing FEATURE: this part of a test is left out, for want of that in the kernel or on the machine. Not where it is known to
# be there, as in the virtual machines.
missing() {
        [[ " ${MESHCUT_HAS:-} " != *" $1 "* ]] || fail "$1 is said to be missing, and is here"
        say "left out: no $1 here"
}

listening_udp() { # NS PORT
        local out
        out=$(in_ns "$1" ss -Hlun "sport = :$2")
        [[ -n $out ]]
}

# host_add NAME: forwards, and conntrack is liberal.
host_add() {
        ns_add "$1"
        in_ns "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        in_ns "$1" sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1 2>/dev/null || true
        in_ns "$1" sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 2>/dev/null || true
}

# bridge_add HOST BRIDGE DOMAIN
bridge_add() {
        local host=meshcut-$ID-$1
        ip -n "$host" link add "$2" type bridge
        ip -n "$host" addr add "10.88.$3.254/24" dev "$2"
        ip -n "$host" addr add "fd88:$3::fe/64" dev "$2" nodad
        ip -n "$host" link set "$2" up
}

# container_add HOST NAME DOMAIN N [BRIDGE]: its veth on the host is veNAME. Without a bridge the host routes to it.
container_add() {
        local host=meshcut-$ID-$1 name=$2 domain=$3 n=$4 bridge=${5:-} ns=meshcut-$ID-$2
        ns_add "$name"
        ip -n "$host" link add "ve$name" type veth peer name eth0 netns "$ns"
        ip -n "$ns" addr add "10.88.$domain.$n/24" dev eth0
        ip -n "$ns" addr add "fd88:$domain::$n/64" dev eth0 nodad
        ip -n "$ns" link set eth0 up
        ip -n "$host" link set "ve$name" up
        if [[ -n $bridge ]]; then
                ip -n "$host" link set "ve$name" master "$bridge"
                ip -n "$ns" route add default via "10.88.$domain.254"
                ip -n "$ns" route add default via "fd88:$domain::fe"
                return
        fi
        # Every container has the same gateway, as with systemd-nspawn or Calico; the host has a route for each.
        ip -n "$host" addr add 169.254.1.1/32 dev "ve$name"
        ip -n "$host" addr add fe80::1/64 dev "ve$name" nodad
        ip -n "$host" route add "10.88.$domain.$n" dev "ve$name"
        ip -n "$host" route add "fd88:$domain::$n" dev "ve$name"
        ip -n "$ns" addr flush dev eth0 scope global
        ip -n "$ns" addr add "10.88.$domain.$n/32" dev eth0
        ip -n "$ns" addr add "fd88:$domain::$n/128" dev eth0 nodad
        ip -n "$ns" route add 169.254.1.1 dev eth0
        ip -n "$ns" route add default via 169.254.1.1
        ip -n "$ns" route add default via fe80::1 dev eth0
}

# configure_veth MODE [LINE...]: more lines of [Veth].
configure_veth() {
        local mode=$1
        shift
        [[ " $*" == *' Interfaces='* ]] || set -- 'Interfaces=ve*' "$@"
        configure <<-EOT
		Socket=no
		Veth=yes
		[Veth]
		Mode=$mode
		$(printf '%s\n' "$@")
	EOT
}

veths_json() {
        busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short call org.meshcut1 /org/meshcut1 \
                org.freedesktop.DBus.ObjectManager GetManagedObjects
}

# veth NAME PROPERTY: of the device of that name; empty if there is no such object.
veth() {
        veths_json | jq -r --arg name "$1" --arg property "$2" '.data[0][] | .["org.meshcut1.Veth"] // empty |
                select(.Interface.data == $name) | .[$property].data | if type == "array" then join(" ") else . end'
}

veth_is() { [[ $(veth "$1" "$2") == "$3" ]]; } # NAME PROPERTY VALUE

# The daemon, in NS_DAEMON, with the veth shortcut on.
daemon_start_veth() {
        daemon_start || fail "the daemon does not start"
        [[ $(property VethShortcut) == active ]] ||
                fail "veth shortcut: $(property VethShortcut): $(property VethShortcutReason)"
}

# The service of a second host, in the namespace other, on a bus of its own; other CMD... speaks to it.
other() {
        DBUS_SYSTEM_BUS_ADDRESS=unix:path=$SCRATCH/other/bus "$@"
}
other_start() {
        mkdir -p "$SCRATCH/other"
        sed "s#$SCRATCH/bus#$SCRATCH/other/bus#" "$SCRATCH/bus.conf" >"$SCRATCH/other/bus.conf"
        at_exec "$CG_TOP/infra" - dbus-daemon --config-file="$SCRATCH/other/bus.conf" --nofork --nopidfile --nosyslog &
        eventually 5 test -S "$SCRATCH/other/bus"
        other at_exec "$CG_TOP/infra" other "$MESHCUTD" --config="$SCRATCH/meshcut.conf" \
                --state-dir="$SCRATCH/bpf/other" >"$SCRATCH/other/log" 2>&1 &
        OTHER_PID=$!
        other eventually 20 other_active || fail "the other daemon: $(cat "$SCRATCH/other/log")"
}
other_active() { [[ $(property VethShortcut 2>/dev/null) == active ]]; }
attached() {
        local name
        for name; do
                eventually 5 veth_is "$name" State attached || fail "$name: $(veth "$name" State): $(veth "$name" Reason)"
        done
}
