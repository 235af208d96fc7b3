#!/usr/bin/env bash
# What the tests of the appliance look at: the image of ecs-bookworm booted once, without an environment, and kept with its
# memory, so that each of them resumes it in seconds.
# label: boot
# gives: appliance
# needs: ecs
# timeout: 1200
MACHINE=qemu:$(dirname "$0")/../../build/e2e/ecs-bookworm/ecs-bookworm.qcow2
. "$(dirname "$0")/../appliance/machine.inc"

wait_for 120 "the machine says that it has no environment" guest test -e /run/appliance-failed
rm -rf "$here/../../build/e2e/appliance-ecs" # of an image before
save_machine "$here/../../build/e2e/appliance"
