#!/usr/bin/env bash
# A service that does not answer fails the proof: exit status 1, the report is published and the image is not.
# label: guest
# needs: minimal
# timeout: 1500
. "$(dirname "$0")/common.inc"

kiln build tests/e2e/profiles/masked-ssh.yml --output "$work/built"
expect_status 1
says 'port 22'
[ ! -e "$work/built/masked-ssh.qcow2" ] || fail "an unproven image was published"
grep -q '<failure' "$work/built/junit.xml" || fail "junit.xml names no failure"
