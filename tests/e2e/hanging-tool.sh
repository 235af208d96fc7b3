#!/usr/bin/env bash
# A tool of the host that hangs is ended at the limit: the error names it, nothing is left running, and the events file tells
# how it ended.
# label: guest
# timeout: 120
. "$(dirname "$0")/common.inc"

store=$work/store
mkdir -m 0700 "$store" "$work/bin"
# In the place of qemu-img something that never answers.
ln -s "$(command -v tail)" "$work/bin/qemu-img-hangs"
printf '#!/bin/sh\nexec "%s" -f /dev/null\n' "$work/bin/qemu-img-hangs" >"$work/bin/qemu-img"
chmod 0755 "$work/bin/qemu-img"
truncate -s 1M "$work/base.raw"
cat >"$work/hangs.yml" <<END_OF_PROFILE
description: a base that is looked at by qemu-img
steps:
  - base_image:
      file: base.raw
      sha256: $(sha256sum "$work/base.raw" | cut -d ' ' -f 1)
END_OF_PROFILE
PATH=$work/bin:$PATH kiln build "$work/hangs.yml" --timeout 5s --events "$work/events" --output "$work/built"
expect_status 1
says "error: 'qemu-img' .*did not end within 5.0 s"
! pgrep -f "$work/bin/qemu-img-hangs" || fail "the tool is still running"
leaves_nothing 5
tail -n 1 "$work/events" | grep -q '"event":"ends".*"exit":1,"error":".*qemu-img' || fail "the events end with $(tail -n 1 "$work/events")"
