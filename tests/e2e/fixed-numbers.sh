#!/usr/bin/env bash
# Users and groups have the numbers of overlays/ecs/early whatever order their packages come in, so that a new image owns what an
# old one left on a data disk. The packages are those that would make users of their own.
# label: soak
# needs: soak-ecs
# timeout: 1800
# shellcheck source=common.inc
. "$(dirname "$0")/common.inc"

packages=(postgresql postfix opendkim stunnel4 prometheus-node-exporter)
# order NAME PACKAGE...: the users and groups of an image into which each was installed on its own, one after another
order() {
  local order=$1 package steps='' layer
  shift
  for package; do steps+="  - {id: $package, packages: {install: [$package]}}"$'\n'; done
  cat >"$work/$order.yml" <<END
steps:
  - id: base
    base_debian: {suite: bookworm, kernel: linux-image-cloud-amd64}
  - id: early
    overlay: {tree: $top/overlays/ecs/early}
$steps
END
  kiln build "$work/$order.yml" --until "${*: -1}" --output "$work/built" --json
  expect_status 0
  layer=$store/layers/$(layer_of "${*: -1}")/image.qcow2
  qemu-img convert -O raw "$layer" "$work/$order.raw"
  at=$(sfdisk --json "$work/$order.raw" | python3 -c "import json, sys; print(512 * max(json.load(sys.stdin)[\"partitiontable\"][\"partitions\"], key=lambda p: p[\"size\"])[\"start\"])")
  for file in passwd group; do
    debugfs -R "cat /etc/$file" "$work/$order.raw?offset=$at" 2>/dev/null | cut -d: -f1,3 | sort >"$work/$order.$file"
  done
  rm "$work/$order.raw"
}

order forth "${packages[@]}"
order back stunnel4 prometheus-node-exporter opendkim postfix postgresql

wrong=''
for order in forth back; do
  while read -r kind user number _; do
    case $kind in
      u) grep -q -x "$user:$number" "$work/$order.passwd" && grep -q -x "$user:$number" "$work/$order.group" || wrong+=" $order:$user" ;;
      g) grep -q -x "$user:$number" "$work/$order.group" || wrong+=" $order:$user" ;;
    esac
  done <"$top/overlays/ecs/early/etc/sysusers.d/appliance.conf"
done
[ -z "$wrong" ] || fail "not the number that is fixed:$wrong"
grep -q '^postdrop:412$' "$work/back.group" || fail "the check sees nothing"
