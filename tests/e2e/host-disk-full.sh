#!/usr/bin/env bash
# A store on a full file system: exit status 1, naming the file system and the need; the store stays intact.
# label: guest
# timeout: 120
. "$(dirname "$0")/common.inc"

need_root "mounts a small file system"
mkdir "$work/small"
# shellcheck disable=SC2016 # expanded by the inner shell
unshare -m --propagation private sh -c '
  mount -t tmpfs -o size=64m small "$2"
  mkdir -m 0700 "$2/store"
  "$1" build minimal --store "$2/store" --output "$3" 2>"$4"
  status=$?
  "$1" plan minimal --store "$2/store" >/dev/null || status=99
  exit $status' sh "$KILN" "$work/small" "$work/built" "$work/err" || status=$?
: >"$work/out"
expect_status 1
says "$work/small"
says 'GiB|MiB'
