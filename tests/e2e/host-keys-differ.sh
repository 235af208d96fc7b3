#!/usr/bin/env bash
# Two boots of one image make different ssh host keys.
# label: guest
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

kiln boot "$kept/minimal/minimal.qcow2" --output "$work/second"
expect_status 0
keys() { grep -a -o -E 'SHA256:[A-Za-z0-9+/]{43}' "$1" | sort -u; }
[ -n "$(keys "$kept/minimal/console.log")" ] || fail "the first boot shows no host key on its console"
[ -n "$(keys "$work/second/console.log")" ] || fail "the second boot shows no host key on its console"
same=$(comm -12 <(keys "$kept/minimal/console.log") <(keys "$work/second/console.log"))
[ -z "$same" ] || fail "both boots have $same"
