#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# Applications that read in ways that a shortcut socket does not bear as TCP does: nginx as a reverse proxy (FIONREAD and
# edge-triggered events), Go's io.Copy and HAProxy's splice-auto (splice), Java's available() and Python (blocking).
# Every body is compared byte by byte.
. "$(dirname "$0")/lib.sh"

# An emulated processor gets fewer of the large ones.
LARGE=$((SLOW > 1 ? 20 : 200))
SMALL=200

configured() { # QUIRKS PROBATION
        cat >"$SCRATCH/meshcut.conf" <<-EOF
		[Meshcut]
		CgroupRoot=$CG
		AllowQuirks=$1
		[Socket]
		Probation=$2
		[Rule mesh]
		Action=shortcut
		# A rule allows it for both ends of a connection.
		[Rule blocking]
		Action=shortcut
		Port=8081
		AllowBlocking=yes
	EOF
}
# got WHAT CMD...: it must succeed, and says what it prints.
got() {
        local what=$1 out
        shift
        out=$("$@" 2>&1) || fail "$what: $out"
        say "$what: $out"
}
feature() { property Features | jq -r --arg name "$1" '.[] | select(.[0] == $name) | .[1]'; }

web() { # NAME CONFIG: an nginx of that name, in a cgroup of its own
        mkdir -p "$SCRATCH/$1"
        cat >"$SCRATCH/$1.conf" <<-EOF
		daemon off;
		user root;
		worker_processes 1;
		pid $SCRATCH/$1/pid;
		error_log stderr;
		events { worker_connections 1000; }
		http {
		  access_log off;
		  keepalive_requests 1000000;
		  sendfile on;
		  tcp_nopush on;
		  client_body_temp_path $SCRATCH/$1/body;
		  proxy_temp_path $SCRATCH/$1/proxy;
		  fastcgi_temp_path $SCRATCH/$1/fastcgi;
		  uwsgi_temp_path $SCRATCH/$1/uwsgi;
		  scgi_temp_path $SCRATCH/$1/scgi;
		  $2
		}
	EOF
        at_exec "$1" apps nginx -e stderr -c "$SCRATCH/$1.conf" >"$SCRATCH/$1.log" 2>&1 &
}

# bodies PORT PATH COUNT CONNECTIONS [OPTION...]
bodies() {
        local port=$1 path=$2 count=$3 connections=$4
        shift 4
        at client apps python3 "$TOP/tests/tools/bodies.py" 127.0.0.1 "$port" "/$path" "$SCRATCH/www/$path" \
                $((110 * SLOW)) "$connections" --count="$count" --patience=$((5 * SLOW)) "$@"
}

ns_add apps
mkdir -p "$SCRATCH/www"
head -c 1M /dev/urandom >"$SCRATCH/www/1m"
head -c 50M /dev/urandom >"$SCRATCH/www/50m"
web origin "server { listen 127.0.0.1:8080; listen 127.0.0.1:8081; root $SCRATCH/www; }"
web reverse "upstream o { server 127.0.0.1:8080; keepalive 8; }
	server { listen 127.0.0.1:8090; location / {
	  proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection '';
	  proxy_max_temp_file_size 0; } }"
eventually 10 listening apps 8080 && eventually 10 listening apps 8090 || fail "nginx: $(cat "$SCRATCH"/{origin,reverse}.log)"

configured "" auto
daemon_start || fail "the daemon does not start"
guarded=$(feature splice-guard)
say "as shipped: $(property SocketShortcut) $(property SocketShortcutReason)"
# Without a guard nobody here would be safe, and nobody is touched.
[[ $guarded == true ]] || assert_eq "without a guard" "$(property SocketShortcut)" refused
daemon_stop

say "nginx in front of nginx"
configured "${MESHCUT_QUIRKS-splice}" no
daemon_start_active
disable
got "50 MB plain" bodies 8090 50m $((LARGE / 10)) 4
enable
for what in "50m $LARGE 4" "1m $SMALL 4"; do
        read -r path count connections <<<"$what"
        mark
        got "$path" bodies 8090 "$path" "$count" "$connections"
        assert_ge "$path: paired" "$(since socket.connections_paired)" "$connections"
        assert_ge "$path: messages by shortcut" "$(since socket.messages_shortcut)" "$count"
        say "$path: MB by shortcut: $(($(since socket.bytes_shortcut) >> 20)), by TCP: $(($(since socket.bytes_tcp) >> 20))"
done
mark
got "50m, slow" bodies 8090 50m 2 2 --rate=25e6
got "1m, slow" bodies 8090 1m 8 4 --rate=2e6
assert_ge "slow: messages by shortcut" "$(since socket.messages_shortcut)" 100
assert_ge "slow: what waited for the reader" "$(since socket.passed.unread)" 1

say "Python, blocking"
python_get() { # PORT
        at python apps python3 -c "
import http.client, sys
body = open('$SCRATCH/www/1m', 'rb').read()
connection = http.client.HTTPConnection('127.0.0.1', $1)
for i in range(20):
    connection.request('GET', '/1m')
    assert connection.getresponse().read() == body, i"
}
mark
python_get 8080 || fail "Python"
assert_eq "left as blocking" "$(since socket.connections_left.blocking)" 1
mark
python_get 8081 || fail "Python, shortcut"
assert_eq "paired where a rule allows it" "$(since socket.connections_paired)" 1
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 10

if [[ -e $TOOLS/Available.class ]] && type java >/dev/null 2>&1; then
        say "Java, InputStream.available()"
        java_get() { at java apps java -Xshare:auto -XX:TieredStopAtLevel=1 -cp "$TOOLS" Available "$1" /1m "$SCRATCH/www/1m" 20; }
        mark
        got "plain" java_get 8080
        assert_eq "left as blocking" "$(since socket.connections_left.blocking)" 1
        mark
        got "shortcut" java_get 8081
        assert_eq "paired where a rule allows it" "$(since socket.connections_paired)" 1
        assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 10
else
        say "without Java: no java, or javac was not there at the build"
fi
daemon_stop

[[ $guarded == true ]] || { say "without a guard neither Go nor splice-auto can be served"; exit 0; }
[[ -x $TOOLS/proxy ]] || fail "the Go proxy is not built"
at_exec go apps "$TOOLS/proxy" 127.0.0.1:8091 127.0.0.1:8080 >"$SCRATCH/go.log" 2>&1 &
cat >"$SCRATCH/haproxy.cfg" <<-EOF
	global
	  nbthread 1
	defaults
	  timeout connect 5s
	  timeout client 10m
	  timeout server 10m
	  option splice-auto
	listen tcp
	  mode tcp
	  bind 127.0.0.1:8092
	  server s 127.0.0.1:8080
EOF
at_exec haproxy apps haproxy -f "$SCRATCH/haproxy.cfg" >"$SCRATCH/haproxy.log" 2>&1 &
eventually 10 listening apps 8091 && eventually 10 listening apps 8092 || fail "the proxies: $(cat "$SCRATCH"/{go,haproxy}.log)"

# With probation the first connections are not enrolled, and by then it is known who splices. Without it they are, and get
# EINVAL at their first splice().
for probation in no auto; do
        configured "" "$probation"
        daemon_start_active
        for proxy in 8091 8092; do
                name=$([[ $proxy == 8091 ]] && echo "Go" || echo "HAProxy")
                for round in first later; do
                        mark
                        got "$name, Probation=$probation, $round" bodies $proxy 50m $((LARGE / 5)) 4
                        got "$name, Probation=$probation, $round" bodies $proxy 1m $((SMALL / 2)) 8
                        say "  paired $(since socket.connections_paired), left: splice $(since socket.connections_left.splice), probation $(since socket.connections_left.probation)"
                done
                assert_ge "$name, once it is known: left on TCP" "$(since socket.connections_left.splice)" 12
                [[ $probation == no ]] || continue
                grep -Fq 'reads by splice()' "$SCRATCH/daemon.log" || fail "the log does not name it"
        done
        daemon_stop
done
