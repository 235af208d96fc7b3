#!/usr/bin/env bash
# The images of minimal and ecs-bookworm boot by UEFI too, with every check passed.
# label: soak
# needs: soak-ecs soak-minimal
# timeout: 2400
. "$(dirname "$0")/common.inc"

for profile in minimal ecs-bookworm; do
  kiln boot "$kept/soak-$profile/$profile.qcow2" --firmware uefi --output "$work/$profile"
  expect_status 0
  grep -q 'name="firmware" value="uefi"' "$work/$profile/junit.xml" || fail "the report is not of a UEFI boot"
done
