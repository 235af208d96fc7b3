#!/usr/bin/env bash
# `kiln doctor` says what this machine can do; exit status 0 where all of ci/packages is installed.
# label: guest
# timeout: 300
. "$(dirname "$0")/common.inc"

kiln doctor
expect_status 0
says 'qemu'
says 'KVM|TCG'
