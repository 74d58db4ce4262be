#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A thousand veths into two hundred namespaces, made, given other addresses and removed in no order: soon after the last change
# the service knows what there is. Once as it is, and once with so small a receive buffer that events are lost all the time.
. "$(dirname "$0")/lib.sh"

[[ -x $TOOLS/links ]] || skip "$TOOLS/links is not built"

if ((SLOW > 1)); then
        NAMESPACES=20 EACH=5
else
        NAMESPACES=200 EACH=5
fi

n() { echo "meshcut-$ID-$1"; }
host() { ip -n "$(n host)" "$@"; }
shuffled() { shuf -i 1-"$NAMESPACES"; }

# A namespace with its veths, from either side.
make() { # NUMBER
        local i a b
        ns_add "s$1"
        for ((i = 1; i <= EACH; i++)); do
                a="name v$1-$i netns $(n host)" b="name e$i netns $(n "s$1")"
                ((i % 2)) && echo "link add $a type veth peer $b" || echo "link add $b type veth peer $a"
        done | host -batch -
        for ((i = 1; i <= EACH; i++)); do
                echo "addr add 10.$((10 + $1 / 200)).$(($1 % 200)).$i/24 dev e$i"
                echo "addr add fd77:$1::$i/64 dev e$i nodad"
                echo "link set e$i up"
        done | ip -n "$(n "s$1")" -force -batch - 2>/dev/null || true # some may be gone again
}

# Other addresses and MACs, one veth less, and one that moves on (if its namespace is there).
change() { # NUMBER
        local i to=$((RANDOM % NAMESPACES + 1))
        {
                for ((i = 1; i <= EACH; i++)); do
                        echo "addr add 10.$((20 + $1 / 200)).$(($1 % 200)).$i/24 dev e$i"
                        ((RANDOM % 2)) && echo "addr del 10.$((10 + $1 / 200)).$(($1 % 200)).$i/24 dev e$i"
                        ((RANDOM % 2)) && echo "link set e$i address 02:00:00:$(printf %02x:%02x:%02x $(($1 / 256)) $(($1 % 256)) "$i")"
                done
                echo "link del e1"
                [[ -e /run/netns/$(n "s$to") ]] && echo "link set e2 netns $(n "s$to") name m$1"
        } | ip -n "$(n "s$1")" -force -batch - 2>/dev/null || true
        ip -n "$(n "s$1")" addr flush dev e3 2>/dev/null || true
}

remove() { # NUMBER
        if ((RANDOM % 2)); then
                ip netns del "$(n "s$1")"
        else
                seq "$EACH" | sed "s/.*/link del v$1-&/" | host -force -batch - 2>/dev/null || true
        fi
}

storm() {
        local number
        local order
        order=$(shuffled)
        for number in $order; do make "$number"; done &
        for number in $order; do
                while [[ ! -e /run/netns/$(n "s$number") ]]; do sleep 0.01; done
                change "$number"
        done
        wait $!
        for number in $(shuffled | head -n $((NAMESPACES / 2))); do change "$number"; done &
        for number in $(shuffled | head -n $((NAMESPACES / 2))); do remove "$number"; done
        wait $!
}

links_print() { # the table, at once
        local before
        before=$(grep -c '^end' "$SCRATCH/links.out" || true)
        kill -USR1 "$LINKS"
        eventually 5 printed "$before" || fail "links does not answer: $(cat "$SCRATCH/links.err")"
        awk '{ rest = rest $0 "\n" } /^end/ { table = rest; rest = "" } END { printf "%s", table }' "$SCRATCH/links.out"
}
printed() { (($(grep -c '^end' "$SCRATCH/links.out") > $1)); }

ticks() { awk '{ print $14 + $15 }' "/proc/$LINKS/stat"; }
devices() { in_ns host sh -c 'wc -l </proc/net/dev'; }
# A namespace goes some time after its name.
at_rest() {
        local out
        out=$(host link show)
        ! grep -q link-netnsid <<<"$out"
}

ns_add host
for buffer in 0 1; do
        at_exec infra host "$TOOLS/links" --on-signal --receive-buffer "$buffer" >"$SCRATCH/links.out" 2>"$SCRATCH/links.err" &
        LINKS=$!
        begun=$SECONDS
        storm
        eventually 30 at_rest || fail "namespaces do not go"
        sleep 0.5
        links_print >"$SCRATCH/table"
        say "$(tail -n 1 "$SCRATCH/table"), after $((SECONDS - begun)) s, $(ticks) ticks"
        names=()
        for name in /run/netns/"$(n s)"*; do
                [[ ! -e $name ]] || names+=("${name##*/}")
        done
        "$TOP/tests/tools/links-compare.py" "$(n host)" "${names[@]}" <"$SCRATCH/table" >"$SCRATCH/compared" ||
                fail "the table is not what there is: $(head -n 20 "$SCRATCH/compared")"
        assert_ge "veths that are left" "$(cat "$SCRATCH/compared")" $((NAMESPACES * EACH / 5))
        assert_eq "devices" "$(grep -c ^link "$SCRATCH/table")" $(($(devices) - 2))
        ((buffer == 0)) || assert_ge "receive buffer, grown by losses" "$(tail -n 1 "$SCRATCH/table" | field receive-buffer)" 4608
        # And at rest.
        before=$(ticks)
        sleep 2
        assert_eq "ticks of CPU at rest" "$(ticks)" "$before"
        kill -TERM "$LINKS"
        wait "$LINKS" || fail "links ends with $?: $(cat "$SCRATCH/links.err")"
        for name in /run/netns/"$(n s)"*; do
                [[ ! -e $name ]] || ip netns del "${name##*/}"
        done
        eventually 60 at_rest || fail "namespaces do not go"
done
