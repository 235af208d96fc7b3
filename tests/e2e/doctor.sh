#!/usr/bin/env bash
# `kiln doctor` says what this machine can do; exit status 0 where all of ci/packages is installed.
# label: guest
# timeout: 300
. "$(dirname "$0")/common.inc"

kiln doctor
expect_status 0
says '^ok +qemu-system-x86_64 '
says '^(ok|worse) +KVM +(KVM ran a kernel|.*TCG is used)'
says '^This host can bake'
