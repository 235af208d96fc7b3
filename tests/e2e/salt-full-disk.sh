#!/usr/bin/env bash
# A state that fills the guest's disk: the error says that the disk is full.
# label: soak
# needs: salt
# timeout: 1500
. "$(dirname "$0")/common.inc"

kiln build tests/e2e/profiles/salt-fills.yml --until salt_highstate --output "$work/built"
expect_status 1
says 'No space left on device|disk.*full'
