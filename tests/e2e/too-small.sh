#!/usr/bin/env bash
# A disk too small for its content: exit status 1 with both sizes, found before anything boots; with
# a size that fits the next build succeeds.
# label: guest
# timeout: 600
. "$(dirname "$0")/common.inc"

kiln build tests/e2e/profiles/too-small.yml --no-boot --output "$work/built"
expect_status 1
says 'too small|does not fit|needs .*(MiB|GiB|M|G)'
[ ! -e "$work/built/too-small.qcow2" ] || fail "an image was published"
sed -e 's/300M/6G/' -e "s|\.\./\.\./\.\./profiles|$top/profiles|" tests/e2e/profiles/too-small.yml >"$work/fits.yml"
kiln build "$work/fits.yml" --no-boot --output "$work/built"
expect_status 0
[ "$(qemu-img info --output=json "$work/built/fits.qcow2" | python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])')" = $((6 << 30)) ] ||
  fail "the disk is not of the size asked for"
