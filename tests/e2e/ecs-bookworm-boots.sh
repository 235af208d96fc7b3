#!/usr/bin/env bash
# `kiln build ecs-bookworm`: the default profile from its base to a BIOS boot with every check passed.
# label: boot
# gives: ecs
# timeout: 2400
. "$(dirname "$0")/common.inc"

out=$kept/ecs-bookworm
rm -rf "$out"
kiln build ecs-bookworm --output "$out"
expect_status 0
cat "$work/err"
[ "$(json "$out/image.json" 'it["verdict"]')" = proven ] || fail "image.json does not say proven"
