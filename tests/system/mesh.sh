# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash

# The mesh: two "hosts", each a network namespace with its sidecar. Sourced after lib.sh.
#
#   namespace a                                  namespace b
#   client -> REDIRECT -> haproxy-a :15001 -> eth0 ~~ eth0 -> REDIRECT -> haproxy-b :15006 -> nginx on loopback
#
# Port 8080 is HTTP all the way (15001, 15006), so the sidecars keep and share connections. 8081 (nginx again), 6379 (Redis)
# and 5432 (PostgreSQL) pass as bytes and have sidecar ports of their own.
# Both families: $MESH4 and $MESH6 are b's addresses.

MESH4=10.77.1.2
MESH6=fd77:10:77:1::2
declare -A MESH_PORT_A=([8080]=15001 [8081]=15101 [6379]=15102 [5432]=15103)
declare -A MESH_PORT_B=([8080]=15006 [8081]=15106 [6379]=15107 [5432]=15108)
declare -A MESH_PID=()
MESH_UID=61501 # of the sidecar in a: its own connections are not redirected

sidecar_defaults() {
        cat <<-EOF
		global
		  maxconn 4000
		  nbthread 1
		  uid $MESH_UID
		  gid $MESH_UID
		defaults
		  maxconn 4000
		  timeout connect 5s
		  timeout client 10m
		  timeout server 10m
		  http-reuse always
	EOF
}

# sidecar_listen a|b BIND UPSTREAM [BIND_OPTION]: a proxy for each service, of one family.
sidecar_listen() {
        local port mode
        local -n ports=MESH_PORT_${1^^}
        for port in "${!ports[@]}"; do
                mode=$([[ $port == 8080 ]] && echo http || echo tcp)
                printf 'listen %s-%s\n  mode %s\n  bind %s:%s %s\n  server s %s:%s\n' \
                        "${3//[][]/}" "$port" "$mode" "$2" "${ports[$port]}" "${4:-}" "$3" "$port"
        done
}

mesh_service() { # NS NAME CMD...: in the cgroup that systemd would give it
        local ns=$1 name=$2
        shift 2
        at_exec "system.slice/$name.service" "$ns" "$@" >"$SCRATCH/$name.log" 2>&1 &
        MESH_PID[$name]=$!
}

mesh_redirect() {
        local port ipt
        for ipt in iptables ip6tables; do
                for port in "${!MESH_PORT_A[@]}"; do
                        in_ns a "$ipt" -w -t nat -A OUTPUT -p tcp --dport "$port" -m owner ! --uid-owner $MESH_UID \
                                -j REDIRECT --to-ports "${MESH_PORT_A[$port]}"
                        in_ns b "$ipt" -w -t nat -A PREROUTING -p tcp --dport "$port" \
                                -j REDIRECT --to-ports "${MESH_PORT_B[$port]}"
                done
        done
}

mesh_nginx() {
        mkdir -p "$SCRATCH/www" "$SCRATCH/nginx"
        head -c 1M /dev/urandom >"$SCRATCH/www/1m"
        head -c 50M /dev/urandom >"$SCRATCH/www/50m"
        cat >"$SCRATCH/nginx.conf" <<-EOF
		daemon off;
		user root;
		worker_processes 1;
		pid $SCRATCH/nginx/pid;
		error_log stderr;
		events { worker_connections 4000; }
		http {
		  access_log off;
		  keepalive_requests 100000000;
		  keepalive_timeout 10m;
		  sendfile on;
		  tcp_nopush on;
		  client_body_temp_path $SCRATCH/nginx/body;
		  proxy_temp_path $SCRATCH/nginx/proxy;
		  fastcgi_temp_path $SCRATCH/nginx/fastcgi;
		  uwsgi_temp_path $SCRATCH/nginx/uwsgi;
		  scgi_temp_path $SCRATCH/nginx/scgi;
		  server {
		    listen 127.0.0.1:8080;
		    listen [::1]:8080;
		    listen 127.0.0.1:8081;
		    listen [::1]:8081;
		    root $SCRATCH/www;
		    location = / { return 200 "a small body\n"; }
		  }
		}
	EOF
        mesh_service b nginx nginx -e stderr -c "$SCRATCH/nginx.conf"
}

mesh_redis() {
        mkdir -p "$SCRATCH/redis"
        mesh_service b redis redis-server --port 6379 --bind 127.0.0.1 ::1 --save '' --appendonly no \
                --dir "$SCRATCH/redis" --daemonize no
}

mesh_postgres() {
        local bin data=$SCRATCH/postgres/data
        bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
        [[ -n $bin ]] || fail "PostgreSQL is not installed"
        install -d -o postgres "$SCRATCH/postgres"
        (cd "$SCRATCH/postgres" && setpriv --reuid postgres --regid postgres --clear-groups \
                "$bin/initdb" -D "$data" -N -A trust -U postgres --locale=C >"$SCRATCH/initdb.log" 2>&1) ||
                fail "initdb: $(cat "$SCRATCH/initdb.log")"
        mesh_service b postgres setpriv --reuid postgres --regid postgres --clear-groups \
                "$bin/postgres" -D "$data" -c fsync=off -c listen_addresses=127.0.0.1,::1 \
                -c unix_socket_directories="$SCRATCH/postgres"
}

mesh_listening() {
        local port
        for port in "${MESH_PORT_A[@]}"; do listening a "$port" || return 1; done
        for port in 8080 "${MESH_PORT_B[@]}" ${1:+6379 5432}; do listening b "$port" || return 1; done
}

# mesh_up [databases]: returns when all listen; nothing has connected to anything then.
mesh_up() {
        ns_add a b
        ns_link a b 10.77.1
        mesh_redirect
        mesh_nginx
        if [[ -n ${1:-} ]]; then
                mesh_redis
                mesh_postgres
        fi
        # In a, REDIRECT brings local connections to loopback; in b, remote ones to the interface's own address.
        {
                sidecar_defaults
                sidecar_listen a 127.0.0.1 $MESH4
                sidecar_listen a '[::1]' "[$MESH6]"
        } >"$SCRATCH/haproxy-a.cfg"
        {
                sidecar_defaults
                sidecar_listen b 0.0.0.0 127.0.0.1
                sidecar_listen b '[::]' '[::1]' v6only
        } >"$SCRATCH/haproxy-b.cfg"
        mesh_service a haproxy-a haproxy -W -f "$SCRATCH/haproxy-a.cfg"
        mesh_service b haproxy-b haproxy -W -f "$SCRATCH/haproxy-b.cfg"
        eventually 10 mesh_listening "${1:-}" ||
                fail "the mesh does not start: $(cat "$SCRATCH"/{haproxy-*,nginx}.log)"
}

# Workers of a sidecar's master.
mesh_workers() { pgrep -P "${MESH_PID[$1]}" | tr '\n' ' '; }
mesh_replaced() { # NAME OLD: one worker, and not the old one
        local now
        now=$(mesh_workers "$1")
        [[ -n $now && $now != "$2" && $now != *' '*' '* ]]
}

# Reloads both sidecars, so that their pooled connections end and the next requests open new ones: a connection stays what
# it was when it was opened, shortcut or not.
mesh_fresh() {
        local name old
        for name in haproxy-a haproxy-b; do
                old=$(mesh_workers $name)
                kill -USR2 "${MESH_PID[$name]}"
                eventually 10 mesh_replaced $name "$old" || fail "$name does not reload: $(cat "$SCRATCH/$name.log")"
        done
        eventually 5 mesh_listening
}

# How many connections were opened in both hosts since they began, of either family: the kernel's own count.
mesh_opened() {
        local ns sum=0 n
        for ns in a b; do
                n=$(in_ns $ns cat /proc/net/snmp | awk '$1 == "Tcp:" { if (!h) { split($0, name); h = 1 } else for (i in name) if (name[i] == "ActiveOpens") print $i }')
                sum=$((sum + n))
        done
        echo "$sum"
}

# mesh_wrk CONNECTIONS SECONDS [URL]: "requests_per_second p50_us p90_us p99_us", or a failure if any request failed.
mesh_wrk() {
        local out=$SCRATCH/wrk.$BASHPID
        # The 99 % of wrk are rounded for reading; the Lua hook has the numbers.
        cat >"$SCRATCH/wrk.lua" <<-'EOF'
		function done(summary, latency, requests)
		  local e = summary.errors
		  print(string.format("RESULT %.1f %d %d %d %d", summary.requests / (summary.duration / 1e6),
		    latency:percentile(50), latency:percentile(90), latency:percentile(99),
		    e.connect + e.read + e.write + e.status + e.timeout))
		end
	EOF
        at "${MESH_CLIENT:-client}" a wrk -t 1 -c "$1" -d "${2}s" -s "$SCRATCH/wrk.lua" "${3:-http://$MESH4:8080/}" >"$out" 2>&1 ||
                fail "wrk: $(cat "$out")"
        awk '/^RESULT/ { if ($6 != 0) exit 1; print $2, $3, $4, $5; ok = 1 } END { exit !ok }' "$out" ||
                fail "wrk had errors: $(cat "$out")"
        rm -f "$out"
}
