#!/usr/bin/env bash
# base_image brings in a base by its digest, whoever made it; another digest is refused.
# label: guest
# needs: minimal
# timeout: 1200
. "$(dirname "$0")/common.inc"

image=$kept/minimal/minimal.qcow2
sum=$(sha256sum "$image" | cut -d ' ' -f 1)
profile() {
  cat >"$work/foreign.yml" <<END
description: a base from elsewhere
steps:
  - base_image:
      file: $image
      sha256: $1
  - overlay:
      tree: $here/states/passes
      into: /srv/foreign
  - seal: {}
  - export_qcow2: {}
proof:
  files:
    - {path: /srv/foreign/passes.sls}
END
}
profile "${sum//[0-9]/a}"
kiln build "$work/foreign.yml" --output "$work/built"
expect_status 2
says "$sum"
[ ! -e "$work/built/foreign.qcow2" ] || fail "an image was published"
profile "$sum"
kiln build "$work/foreign.yml" --output "$work/built"
expect_status 0
[ -s "$work/built/foreign.qcow2" ] || fail "no image"
