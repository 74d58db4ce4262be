#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Every connection of the mesh is shortcut: HTTP and plain bytes, Redis, PostgreSQL, IPv4 and IPv6; and bodies come whole.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mesh.sh"

configure <<-'EOF'
	[Rule mesh]
	Action=shortcut
	# PostgreSQL's listener blocks, and so does redis-cli.
	[Rule databases]
	Action=shortcut
	Port=5432 6379 15102 15103
	AllowBlocking=yes
EOF
daemon_start_active
mesh_up databases

# all_paired WHAT CMD...: the connections that CMD opens, all along the mesh, are all paired and used.
all_paired() {
        local what=$1 opened blocking
        shift
        opened=$(mesh_opened)
        mark
        ("$@") >"$SCRATCH/out" 2>&1 || fail "$what: $(cat "$SCRATCH/out")"
        opened=$(($(mesh_opened) - opened))
        assert_ge "$what: connections" $opened 1
        # wrk tries its address with a blocking connection first, and sends nothing on it.
        blocking=$(since socket.connections_left.blocking)
        assert_le "$what: left as blocking" "$blocking" 1
        assert_eq "$what: connections paired" "$(since socket.connections_paired)" $((opened - blocking))
        # A request goes by TCP when the server has not accepted the connection yet; the answer does not.
        assert_ge "$what: messages by shortcut" "$(since socket.messages_shortcut)" $((opened - blocking))
}

body() { # URL FILE
        at client a curl -sS --max-time 30 "$1" | cmp - "$SCRATCH/www/$2"
}

postgres() {
        at client a pgbench -h "$1" -U postgres -i -q postgres &&
                at client a pgbench -h "$1" -U postgres -S -c 4 -T 1 postgres
}

for host in "$MESH4" "[$MESH6]"; do
        all_paired "HTTP, $host, 1 connection" mesh_wrk 1 1 "http://$host:8080/"
        all_paired "HTTP, $host, 16 connections" mesh_wrk 16 1 "http://$host:8080/"
        all_paired "bytes, $host, 16 connections" mesh_wrk 16 1 "http://$host:8081/"
        all_paired "1 MB through HTTP, $host" mesh_wrk 4 1 "http://$host:8080/1m"
        mesh_fresh
        all_paired "50 MB through HTTP, $host" body "http://$host:8080/50m" 50m
        # A retransmission under load must not come out twice, or not at all: about one body in 10,000 did.
        all_paired "1 MB bodies, byte by byte, $host" at client a python3 "$TOP/tests/tools/bodies.py" \
                "${host//[][]/}" 8080 /1m "$SCRATCH/www/1m" 5 4
        say "$(cat "$SCRATCH/out")"
        all_paired "50 MB as bytes, $host" body "http://$host:8081/50m" 50m
done
for host in "$MESH4" "$MESH6"; do
        all_paired "redis-benchmark, $host" at client a redis-benchmark -h "$host" -q -n 20000 -c 20 -t set,get
        all_paired "redis-cli, $host" at client a redis-cli -h "$host" incr counter
        all_paired "PostgreSQL, $host" postgres "$host"
done
assert_eq "redis: what was written" "$(at client a redis-cli -h "$MESH4" get counter)" 2

# Nothing of it was left for want of recognition.
say "left: $(statistics | jq -c 'with_entries(select(.key | startswith("socket.connections_left")))')"
assert_eq "left as remote" "$(counter socket.connections_left.remote)" 0
