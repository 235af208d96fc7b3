#!/usr/bin/env bash
# Seconds from power-on to a status page that is green, at an appliance's first boot: as baked, and with nothing in docker's store, so
# that the images are loaded from their archive first. For ci/bench/images.py; MACHINE=qemu:IMAGE.
# shellcheck disable=SC2034,SC2154 # read and given by machine.inc
MACHINE_BOOT=later
# shellcheck source=../../tests/appliance/machine.inc
. "$(dirname "$0")/../../tests/appliance/machine.inc"

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
MACHINE_ENV=$work/env.yml
"$top/build/release/bin/kiln-env" create ecs.example.org "$MACHINE_ENV" >/dev/null

green() { curl -sk --max-time 20 --resolve "ecs.example.org:443:$guest4" https://ecs.example.org/status.json | grep -q '"all": *true'; }

# first_boot WHAT: of a root disk that has never run
first_boot() {
  local begun=${EPOCHREALTIME/./}
  boot_guest
  wait_for 900 "green: $1" green
  printf 'row\tpower-on to green, %s: %s\t%d s\n' "${MACHINE_ACCEL:-tcg}" "$1" $(((${EPOCHREALTIME/./} - begun) / 1000000))
  power_off
}

export MACHINE_MEMORY=4096M
replace_root
first_boot "as baked"
replace_root
guestfish -a "$machine_dir/root.qcow2" -i rm-rf /volatile/docker : mkdir /volatile/docker
first_boot "images loaded at the first boot"
finish_checks
