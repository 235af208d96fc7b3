#!/usr/bin/env bash
# A shell in what a step left: its files are there, what it writes is gone, its last status is told.
# label: guest
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

kiln shell minimal@packages
expect_status 2
says "minimal has no step 'packages'"
status=0
echo 'cat /etc/motd; systemctl is-enabled hello; echo written >/root/written; sync; exit 3' |
  "$KILN" shell minimal@systemd_units --store "$store" >"$work/out" 2>"$work/err" || status=$?
expect_status 1
says '^enabled$'
says 'the shell ended with status 3'
leaves_nothing 5
kiln cache path minimal@systemd_units
qemu-img check -q "$(cat "$work/out")"
