#!/usr/bin/env bash
# Salt comes from the lock file into minimal, natively where root allows it.
# label: guest
# gives: salt
# needs: minimal
# timeout: 1200
. "$(dirname "$0")/common.inc"

kiln build tests/e2e/profiles/salt.yml --until salt_install --output "$work/built"
expect_status 0
