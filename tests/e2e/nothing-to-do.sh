#!/usr/bin/env bash
# A second build of the same profile runs no step and boots nothing.
# label: guest
# needs: minimal
# timeout: 120
. "$(dirname "$0")/common.inc"

kiln build minimal --output "$work/out-again" --json
expect_status 0
[ "$(json "$work/out" 'all(s["reused"] for s in it["builds"][0]["steps"])')" = True ] || fail "a step ran again"
[ "$(json "$work/out" 'it["builds"][0]["proven"]')" = True ] || fail "the kept verdict was not used"
cmp "$kept/minimal/minimal.qcow2" "$work/out-again/minimal.qcow2" || fail "another image"
