#!/usr/bin/env bash
# What other scripts of label soak look at: a proven image of ecs-bookworm.
# label: soak
# gives: soak-ecs
# timeout: 3600
. "$(dirname "$0")/common.inc"

kiln build ecs-bookworm --output "$kept/soak-ecs-bookworm"
expect_status 0
