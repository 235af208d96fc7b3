#!/usr/bin/env bash
# A state that hangs ends at --timeout with the step's name; nothing is left behind.
# label: guest
# needs: salt
# timeout: 1200
. "$(dirname "$0")/common.inc"

own_store
began=$SECONDS
kiln build tests/e2e/profiles/salt-hangs.yml --until salt_highstate --timeout 240 --output "$work/built"
expect_status 1
says 'salt_highstate'
says '240 s|240 seconds|4 min'
[ $((SECONDS - began)) -lt 900 ] || fail "it took $((SECONDS - began)) s"
leaves_nothing 5
