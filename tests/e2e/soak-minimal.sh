#!/usr/bin/env bash
# What other scripts of label soak look at: a proven image of minimal.
# label: soak
# gives: soak-minimal
# timeout: 1500
. "$(dirname "$0")/common.inc"

kiln build minimal --output "$kept/soak-minimal"
expect_status 0
