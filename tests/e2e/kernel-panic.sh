#!/usr/bin/env bash
# A kernel panic in a build guest fails the build and is shown with the console's last lines; without its cause the next
# build succeeds. How soon it is found is a case of guest.all.
# label: guest
# needs: salt
# timeout: 1200
. "$(dirname "$0")/common.inc"

own_store
kiln build tests/e2e/profiles/panics.yml --until salt_highstate --output "$work/built"
expect_status 1
says 'kernel panicked: Kernel panic - not syncing: sysrq triggered crash'
says 'failed/'
leaves_nothing 5
kiln build tests/e2e/profiles/salt-passes.yml --until salt_highstate --output "$work/built"
expect_status 0
says '^salt_highstate: done'
