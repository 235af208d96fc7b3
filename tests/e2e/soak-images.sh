#!/usr/bin/env bash
# What the other scripts of label soak look at: proven images of minimal and ecs-bookworm.
# label: soak
# gives: soak-minimal soak-ecs
# timeout: 3600
. "$(dirname "$0")/common.inc"

for profile in minimal ecs-bookworm; do
  kiln build "$profile" --output "$kept/soak-$profile"
  expect_status 0
done
