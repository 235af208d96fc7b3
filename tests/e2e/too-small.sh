#!/usr/bin/env bash
# A disk too small for its content: exit status 1 with both sizes, found before anything boots.
# label: guest
# timeout: 600
. "$(dirname "$0")/common.inc"

kiln build tests/e2e/profiles/too-small.yml --no-boot --output "$work/built"
expect_status 1
says 'too small|does not fit|needs .*(MiB|GiB|M|G)'
[ ! -e "$work/built/too-small.qcow2" ] || fail "an image was published"
