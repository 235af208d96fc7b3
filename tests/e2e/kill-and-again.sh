#!/usr/bin/env bash
# kill -9 of kiln while a guest runs: all children end with it, and the next build sweeps up and succeeds.
# label: guest
# needs: salt
# timeout: 1200
. "$(dirname "$0")/common.inc"

own_store
start build tests/e2e/profiles/salt-hangs.yml --until salt_highstate --output "$work/built"
wait_for 600 "the hanging state" console_says 'kiln-e2e hangs here'
kill -KILL "$child"
ended
[ "$status" = 137 ] || fail "exit status $status of a killed process"
wait_for 10 "the end of its children" only_files_left
kiln build tests/e2e/profiles/salt-passes.yml --until salt_highstate --output "$work/built"
expect_status 0
leaves_nothing 5
