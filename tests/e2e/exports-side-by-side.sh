#!/usr/bin/env bash
# Several exports of one image run side by side: each is whole and the same disk, none is made again.
# label: guest
# needs: minimal
# timeout: 600
. "$(dirname "$0")/common.inc"

own_store
cat >"$work/formats.yml" <<END
description: in many formats
extends: $top/profiles/minimal.yml
steps:
  - id: plain
    export_disk: {format: raw}
  - id: vmware
    export_disk: {format: vmdk}
  - id: hyper-v
    export_disk: {format: vhdx}
END
kiln build "$work/formats.yml" --from export_qcow2 --jobs 2 --no-boot --output "$work/built" --json --events "$work/events"
expect_status 0
for format in vmdk vhdx qcow2; do
  qemu-img compare -q -f raw -F "$format" "$work/built/formats.raw" "$work/built/formats.$format" || fail "the $format is another disk"
done
# Two were at work at once, never more, and what each told has its name.
two_at_once
for file in formats.raw formats.vmdk formats.vhdx formats.qcow2; do
  grep -q -F "$(sha256sum "$work/built/$file" | cut -d ' ' -f 1)" "$work/built/image.json" || fail "image.json does not know $file"
done
kiln build "$work/formats.yml" --no-boot --output "$work/built" --json
expect_status 0
[ "$(json "$work/out" '{s["reused"] for s in it["builds"][0]["steps"]}')" = '{True}' ] || fail "something was made again"
leaves_nothing 5
