#!/usr/bin/env bash
# A second build of the same profile runs no step and boots nothing.
# label: guest
# needs: minimal
# timeout: 120
. "$(dirname "$0")/common.inc"

kiln build minimal --output "$work/out-again" --json --events "$work/events"
expect_status 0
[ "$(json "$work/out" 'all(s["reused"] for s in it["steps"])')" = True ] || fail "a step ran again"
[ "$(json "$work/out" 'it["proven"]')" = True ] || fail "the kept verdict was not used"
cmp "$kept/minimal/minimal.qcow2" "$work/out-again/minimal.qcow2" || fail "another image"
