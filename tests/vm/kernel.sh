#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later

# What the service makes of this kernel, as shipped and with each quirk that it asks for accepted. Leaves in
# $MESHCUT_VM_FOUND a report, and the quirks with which the socket shortcut is active: the other tests run with those.
. "$(dirname "$0")/../system/lib.sh"

found=${MESHCUT_VM_FOUND:?}
mkdir -p "$found"
: >"$found/report"
echo splice >"$found/quirks"

report() { echo "$*" | tee -a "$found/report" >&2; }

try() { # QUIRKS
        printf '[Meshcut]\nCgroupRoot=%s\n%s[Rule mesh]\nAction=shortcut\n' "$CG" "${1:+AllowQuirks=$1
}" >"$SCRATCH/meshcut.conf"
        daemon_start || fail "the daemon does not start"
        state=$(property SocketShortcut)
        reason=$(property SocketShortcutReason)
        [[ -n ${features:-} ]] || features=$(property Features | jq -c .)
        daemon_stop
        report "AllowQuirks=$1: $state${reason:+: $reason}"
}

try ""
report "Features: $features"
[[ $state == active ]] && echo "" >"$found/quirks"
for quirks in splice "splice fionread"; do
        [[ $state == active ]] && break
        try "$quirks"
        [[ $state == active ]] && echo "$quirks" >"$found/quirks"
done
[[ $state == active ]] || fail "the socket shortcut is $state with all quirks accepted"
