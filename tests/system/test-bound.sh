#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A reader that does not read stops its sender about where plain TCP would, and costs the kernel no more than about that.
. "$(dirname "$0")/lib.sh"

configure <<-'EOF'
	[Rule all]
	Action=shortcut
	AllowBlocking=yes
EOF
daemon_start_active

stall() { at host - "$TOOLS/stream" --stall --size "$@"; }

# compare SIZE [--blocking]: returns 1 when the memory of the whole machine, others' work included, grew too much.
compare() {
        local plain short what ok=0 p s
        disable
        plain=$(stall "$@")
        enable
        mark
        short=$(stall "$@")
        say "plain:    $plain"
        say "shortcut: $short"
        assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 1
        assert_le "bytes accepted" "$(field accepted <<<"$short")" "$(calc "1.5 * $(field accepted <<<"$plain")")"
        for what in tcp_mem_kib kmalloc_1k_kib available_kib; do
                p=$(field $what <<<"$plain")
                s=$(field $what <<<"$short")
                ((s <= 2 * (p > 0 ? p : 0) + 4096)) || { say "$what: $s, plain $p"; ok=1; }
        done
        return $ok
}

for args in "64" "1024" "65536" "64 --blocking" "1024 --blocking" "65536 --blocking"; do
        for try in 1 2 3; do
                # shellcheck disable=SC2086
                if compare $args; then continue 2; fi
                say "try $try: too much memory"
        done
        fail "writes of $args: the kernel's memory grew by more than twice plain TCP's and 4 MiB, three times"
done
