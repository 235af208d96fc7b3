#!/usr/bin/env bash
# The appliance with the application running and all of its parts green, kept with its memory: what the tests of the application
# resume in seconds, and would wait minutes for each.
# label: soak
# gives: application
# needs: appliance
# timeout: 3600
# cores: 2
MACHINE=saved:$(dirname "$0")/../../build/e2e/appliance
. "$(dirname "$0")/../appliance/machine.inc"
# shellcheck source=../appliance/stand-in.inc
. "$here/stand-in.inc"
# shellcheck source=../appliance/ecs.inc
. "$here/ecs.inc"

start_ecs
wait_for 120 'each container is healthy' all_healthy
finish_checks
save_machine "$here/../../build/e2e/appliance-ecs"
