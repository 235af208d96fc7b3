#!/usr/bin/env bash
# SIGTERM while a guest runs: exit status 143, and no QEMU, mount, loop device or temporary file is left.
# label: guest
# needs: salt
# timeout: 900
. "$(dirname "$0")/common.inc"

own_store
start build tests/e2e/profiles/salt-hangs.yml --until salt_highstate --output "$work/built"
wait_for 600 "the hanging state" console_says 'kiln-e2e hangs here'
[ -n "$(left_behind)" ] || fail "the test does not see the guest"
kill -TERM "$child"
began=$SECONDS
ended
expect_status 143
[ $((SECONDS - began)) -le 15 ] || fail "it took $((SECONDS - began)) s to end"
leaves_nothing 5
[ ! -e "$work/built" ] || fail "something was published"
