#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# The veth shortcut with what hosts really use: two containers each of systemd-nspawn (in user namespaces; on a bridge, and
# routed), Podman and LXC. The service knows nothing of them but the names that README.md gives for Interfaces=, and is there
# before they are. Rootless Podman shows the host nothing that could be shortcut.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/veth.sh"

command -v busybox >/dev/null || skip "no busybox for the containers' file systems"

host_add host
NS_DAEMON=host
host=meshcut-$ID-host
bridge_add host br0 1
ran=()

# ---- a machine of its own for the engines ----

# In the host's network namespace, and alone with its processes, mounts, /run and cgroups: an engine finds cgroup v2 with
# nothing in it but what it puts there, however this machine is set up, and all of it goes with the first process.
engines=$CG_TOP/engines
at_exec "$engines" host unshare --mount --cgroup --pid --fork --kill-child --mount-proc bash -c '
        mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
        mount -t tmpfs tmpfs /run && mkdir /run/netns && mount -t tmpfs tmpfs /dev/shm && echo up
        while :; do sleep 3600; done' >"$SCRATCH/machine" 2>&1 &
MACHINE=$!
eventually 10 grep -q up "$SCRATCH/machine" || fail "no place for the engines: $(cat "$SCRATCH/machine")"
MACHINE=$(tr -d ' ' <"/proc/$MACHINE/task/$MACHINE/children")

# machine_exec CGROUP CMD...: the cgroup is below $engines. Replaces the shell, as at_exec does.
machine_exec() {
        local cgroup=$engines/$1
        shift
        mkdir -p "$cgroup"
        # shellcheck disable=SC2016
        exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" nsenter --target "$MACHINE" --mount --cgroup --net --pid "$@"
}
machine() { (machine_exec engine "$@"); }

# A file system with a shell, and the tools with the libraries that they need.
root_make() { # DIRECTORY
        local tool file
        mkdir -p "$1"/{bin,dev,etc,proc,root,run,sbin,sys,tmp,usr/bin,usr/lib,usr/sbin,var}
        cp "$(command -v busybox)" "$1/bin/busybox"
        for tool in sh ip sleep cat; do
                ln -s busybox "$1/bin/$tool"
        done
        echo 'ID=none' >"$1/etc/os-release"
        echo 'root:x:0:0::/root:/bin/sh' >"$1/etc/passwd"
        : >"$1/etc/machine-id"
        for tool in udp integrity; do
                for file in "$TOOLS/$tool" $(ldd "$TOOLS/$tool" | grep -o '/[^ ]*'); do
                        [[ $file == "$TOOLS"/* ]] && cp "$file" "$1/bin/" && continue
                        mkdir -p "$1${file%/*}"
                        cp -L "$file" "$1$file"
                done
        done
}

# ---- the engines: each has ENGINE_start NAME NUMBER, ENGINE_inside NAME CMD..., ENGINE_stop NAME ----

# Container NUMBER (1 or 2) has the addresses of v4 NUMBER and v6 NUMBER.
v4() { echo "$NET4.$1"; }
v6() { echo "$NET6::$1"; }

nspawn() { # NAME NETWORK COMMAND
        # Without a terminal of its own and a machined to tell of it. -U: in a user namespace with ids of its own.
        machine_exec "nspawn-$1" env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn -q -D "$SCRATCH/$ENGINE-$1" -M "$1" --register=no \
                --keep-unit --console=pipe -U "$2" /bin/sh -c "$3; exec sleep 3600" </dev/null
}
nspawn_inside() {
        local pid
        read -r pid <"$engines/nspawn-$1/payload/cgroup.procs"
        shift
        nsenter --all --target "$pid" "$@"
}
nspawn_stop() {
        local pid
        read -r pid <"$engines/nspawn-$1/payload/cgroup.procs"
        kill -KILL "$pid"
}

bridged_start() {
        nspawn "$1" --network-bridge=br0 "ip addr add $(v4 "$2")/24 dev host0; ip addr add $(v6 "$2")/64 dev host0
                ip link set host0 up"
}
bridged_inside() { nspawn_inside "$@"; }
bridged_stop() { nspawn_stop "$@"; }

# A network for each, as systemd-networkd makes one for ve-* devices.
routed_start() {
        host_side() {
                eventually 20 ip -n "$host" link show "ve-$1" >/dev/null 2>&1 || return
                ip -n "$host" addr add "10.88.$2.254/32" peer "$(v4 "$2")" dev "ve-$1"
                ip -n "$host" addr add fe80::1/64 dev "ve-$1" nodad
                ip -n "$host" link set "ve-$1" up
                ip -n "$host" route add "$(v6 "$2")" dev "ve-$1"
        }
        host_side "$@" >&2 &
        nspawn "$1" --network-veth "ip addr add $(v4 "$2") peer 10.88.$2.254 dev host0; ip addr add $(v6 "$2")/128 dev host0
                ip link set host0 up; ip route add default via 10.88.$2.254; ip -6 route add default via fe80::1 dev host0"
}
routed_inside() { nspawn_inside "$@"; }
routed_stop() { nspawn_stop "$@"; }

# podman_configure DIRECTORY: all that it would keep elsewhere.
podman_configure() {
        mkdir -p "$1/networks"
        cat >"$1/containers.conf" <<-EOT
		[network]
		network_backend="netavark"
		network_config_dir="$1/networks"
		[engine]
		cgroup_manager="cgroupfs"
		events_logger="file"
		runtime="crun"
		tmp_dir="$1/tmp"
	EOT
        printf '[storage]\ndriver="vfs"\ngraphroot="%s/root"\nrunroot="%s/run"\n' "$1" "$1" >"$1/storage.conf"
}
podman_in() { # DIRECTORY [VARIABLE=VALUE...] COMMAND ARGS...
        local dir=$1
        shift
        machine env CONTAINERS_CONF="$dir/containers.conf" CONTAINERS_STORAGE_CONF="$dir/storage.conf" "$@"
}
podman() { podman_in "$SCRATCH/podman" podman "$@"; }
podman_run() { # PODMAN NAME NUMBER
        if [[ $2 == one ]]; then
                "$1" network create --disable-dns --subnet "$NET4.0/24" --ipv6 --subnet "$NET6::/64" --gateway "$NET4.254" \
                        --gateway "$NET6::fe" mesh || return
        fi
        "$1" run -d --name "$2" --cgroups=disabled --network "mesh:ip=$(v4 "$3"),ip=$(v6 "$3")" \
                --rootfs "$SCRATCH/$ENGINE-$2" /bin/sleep 3600
}
podman_start() {
        podman_configure "$SCRATCH/podman"
        podman_run podman "$@"
}
podman_inside() { podman exec "$@"; }
podman_stop() { podman rm -f -t 0 "$1"; }

# By an ordinary user, who has ids for containers and a tun device.
rootless() {
        podman_in "$SCRATCH/rootless" setpriv --reuid nobody --regid nogroup --clear-groups env -u DBUS_SYSTEM_BUS_ADDRESS \
                HOME="$SCRATCH/rootless" XDG_RUNTIME_DIR="$SCRATCH/rootless" podman "$@" </dev/null
}
rootless_start() {
        local file
        if [[ $1 == one ]]; then
                podman_configure "$SCRATCH/rootless"
                chown -R nobody:nogroup "$SCRATCH/rootless"
                echo nobody:1000000:65536 >"$SCRATCH/subid"
                mknod -m 0666 "$SCRATCH/tun" c 10 200
                for file in /etc/subuid /etc/subgid; do
                        machine mount --bind "$SCRATCH/subid" $file || return
                done
                machine mount --bind "$SCRATCH/tun" /dev/net/tun || return
        fi
        chown -R nobody:nogroup "$SCRATCH/$ENGINE-$1"
        podman_run rootless "$@"
}
rootless_inside() { rootless exec "$@"; }
rootless_stop() { rootless rm -f -t 0 "$1"; }

lxc_start() {
        mkdir -p "$SCRATCH/lxc/$1"
        cat >"$SCRATCH/lxc/$1/config" <<-EOT
		lxc.uts.name=$1
		lxc.rootfs.path=dir:$SCRATCH/$ENGINE-$1
		lxc.init.cmd=/bin/sleep 3600
		lxc.mount.auto=proc:mixed
		lxc.net.0.type=veth
		lxc.net.0.link=br0
		lxc.net.0.flags=up
		lxc.net.0.ipv4.address=$(v4 "$2")/24
		lxc.net.0.ipv6.address=$(v6 "$2")/64
	EOT
        machine_exec "lxc-$1" lxc-start -P "$SCRATCH/lxc" -n "$1" -F </dev/null
}
lxc_inside() {
        local name=$1
        shift
        machine lxc-attach -P "$SCRATCH/lxc" -n "$name" -- "$@" </dev/null
}
lxc_stop() { machine lxc-stop -P "$SCRATCH/lxc" -n "$1" -k; }

# ---- one engine ----

inside() { "${ENGINE}_inside" "$@"; }

host_veths() { ip -n "$host" -j link show type veth | jq -r '.[].ifname' | sort; }

# The host's veth whose other end has these addresses: told by the service, which nobody told.
veth_of() { # ADDRESSES
        veths_json | jq -r --arg addresses "$1" '.data[0][] | .["org.meshcut1.Veth"] // empty |
                select((.Addresses.data | join(" ")) == $addresses) | .Interface.data'
}
known() { [[ -n $(veth_of "$(v4 "$1") $(v6 "$1")") ]]; }
known_or_gone() { known "$2" || ! kill -0 "$1" 2>/dev/null; } # PID NUMBER
no_objects() { [[ $(veths_json | jq '.data[0] | map(select(.["org.meshcut1.Veth"])) | length') == 0 ]]; }

# Listens in a container at that port: /proc/net has it in hexadecimal.
listens() { # FILE PORT
        inside one cat "/proc/net/$1" 2>/dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$2") "
}

# Why it cannot run here is in its own words.
left_out() { # NAME
        say "$(tail -n 1 "$SCRATCH/$ENGINE-$1.log")"
        missing "$ENGINE"
}

# try ENGINE PROGRAM NET4 NET6 NAMES: NAMES is the pattern of the host's devices. What cannot run here says so and is left out.
try() {
        local name number pid pids=() names=() out before
        ENGINE=$1 NET4=$3 NET6=$4
        if ! command -v "$2" >/dev/null; then
                missing "$1"
                return
        fi
        say "$1"
        number=0
        for name in one two; do
                root_make "$SCRATCH/$ENGINE-$name"
                number=$((number + 1))
                "${ENGINE}_start" "$name" $number >"$SCRATCH/$ENGINE-$name.log" 2>&1 &
                pids+=("$!")
                # Podman makes the network with the first, and goes into the background by itself.
                [[ $ENGINE != podman ]] || wait $! || { left_out $name; return; }
        done
        number=0
        for name in one two; do
                pid=${pids[number]}
                [[ $ENGINE != podman ]] || pid=$$
                # IPv6 addresses only count once they are not tentative.
                number=$((number + 1))
                eventually 20 known_or_gone "$pid" $number || true
                kill -0 "$pid" 2>/dev/null || { left_out $name; return; }
                known $number || fail "no veth with $(v4 $number) $(v6 $number): $(veths_json)"
                names+=("$(veth_of "$(v4 $number) $(v6 $number)")")
        done
        ran+=("$1")
        # shellcheck disable=SC2053 # a pattern it is
        [[ ${names[0]} == $5 && ${names[1]} == $5 ]] || fail "devices by the names of ${names[*]}, expected $5"
        attached "${names[@]}"
        say "${names[*]}: attached"

        inside one integrity --listen "$(v4 1):7001" --port2 7002 >"$SCRATCH/server" 2>&1 &
        pid=$!
        eventually 10 listens tcp 7002 || fail "no server in a container: $(cat "$SCRATCH/server")"
        mark
        inside two integrity --connect "$(v4 1):7001" --port2 7002 --connections 8 --seconds 1 >"$SCRATCH/client" 2>&1 ||
                fail "integrity: $(cat "$SCRATCH/client" "$SCRATCH/server")"
        wait $pid || fail "integrity: $(cat "$SCRATCH/server")"
        assert_ge "TCP packets" "$(since veth.packets_shortcut)" "$(many 1000)"
        assert_ge "TCP bytes" "$(since veth.bytes_shortcut)" \
                $((($(field to_server <"$SCRATCH/client") + $(field to_client <"$SCRATCH/client")) * 8 / 10))

        inside one udp --listen "[$(v6 1)]:7003" >"$SCRATCH/server" 2>&1 &
        pid=$!
        eventually 10 listens udp6 7003 || fail "no UDP server in a container: $(cat "$SCRATCH/server")"
        before=$(veth "${names[1]}" PacketsShortcut)
        mark
        out=$(inside two udp --connect "[$(v6 1)]:7003" --seconds 0.5) || fail "UDP: $out"
        say "$out"
        assert_eq "UDP lost" "$(field lost <<<"$out")" 0
        assert_ge "UDP packets" "$(since veth.packets_shortcut)" $(($(field count <<<"$out") * 19 / 10 - 10))
        assert_ge "those that the second container sent" $(($(veth "${names[1]}" PacketsShortcut) - before)) \
                $(($(field count <<<"$out") * 9 / 10 - 5))

        for name in one two; do
                "${ENGINE}_stop" $name >/dev/null || fail "$1: $name does not stop"
        done
        wait $pid "${pids[@]}" 2>/dev/null || true
        eventually 10 no_objects || fail "veths when all containers are gone: $(veths_json)"
        assert_eq "devices of the host" "$(host_veths)" ""
        assert_eq "programs that are attached" "$(in_ns host bpftool net | grep -c meshcut || true)" 0
}

# The veths of a user who is not root are in a network namespace of that user's, on a bridge in there. Their containers reach
# each other, and the host sees of it what a process sends.
try_rootless() {
        local name pid out
        ENGINE=rootless NET4=10.98.42 NET6=fd88:42
        for name in podman newuidmap slirp4netns; do
                command -v $name >/dev/null || { missing rootless; return; }
        done
        say "rootless Podman"
        root_make "$SCRATCH/$ENGINE-one"
        root_make "$SCRATCH/$ENGINE-two"
        if ! { rootless_start one 1 && rootless_start two 2; } >"$SCRATCH/$ENGINE.log" 2>&1; then
                say "$(tail -n 1 "$SCRATCH/$ENGINE.log")"
                missing rootless
                return
        fi
        inside one udp --listen "$(v4 1):7003" >"$SCRATCH/server" 2>&1 &
        pid=$!
        eventually 10 listens udp 7003 || fail "no UDP server in a container: $(cat "$SCRATCH/server")"
        mark
        out=$(inside two udp --connect "$(v4 1):7003" --seconds 0.5) || fail "UDP: $out"
        say "$out"
        assert_eq "UDP lost" "$(field lost <<<"$out")" 0
        assert_eq "packets" "$(since veth.packets_shortcut)" 0
        assert_eq "devices of the host" "$(host_veths)" ""
        no_objects || fail "the service knows of them: $(veths_json)"
        for name in one two; do
                rootless_stop $name >/dev/null || fail "rootless Podman: $name does not stop"
        done
        wait $pid 2>/dev/null || true
        say "left alone: its veths are in a network namespace of the user's, not in the host's"
}

configure_veth direct 'Interfaces=ve-* vb-* veth*'
daemon_start_veth
try bridged systemd-nspawn 10.88.1 fd88:1 'vb-*'
try routed systemd-nspawn 10.88.31 fd88:31 've-*'
try podman podman 10.98.41 fd88:41 'veth*'
try_rootless
try lxc lxc-start 10.88.1 fd88:1 'veth*'
! grep -iE 'error|fail' "$SCRATCH/daemon.log" || fail "the service complained"
((${#ran[@]})) || skip "no engine runs here"
say "engines: ${ran[*]}"
