#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# A socket that is used for one connection after another: nothing of an earlier one reaches a later one, and all are
# shortcut.
. "$(dirname "$0")/lib.sh"

configure_all
daemon_start_active
mark
at reuse - python3 "$TOP/tests/tools/reconnect.py" || fail "see above"
assert_eq "paired" "$(since socket.connections_paired)" 2
assert_ge "messages by shortcut" "$(since socket.messages_shortcut)" 3
