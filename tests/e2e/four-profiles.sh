#!/usr/bin/env bash
# Four profiles that share everything but their last overlay and export, built in one call, two at a time: what they share
# is built once, and each is published whole.
# label: guest
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

own_store
mkdir -p "$work/shared/srv"
echo shared >"$work/shared/srv/shared"
profiles=()
for one in one two three four; do
  mkdir -p "$work/$one/srv"
  echo "$one" >"$work/$one/srv/own"
  cat >"$work/$one.yml" <<END
description: $one of four
extends: $top/profiles/minimal.yml
steps:
  - id: shared
    overlay: {tree: $work/shared}
  - id: own
    overlay: {tree: $work/$one}
END
  profiles+=("$work/$one.yml")
done
layers() { find "$store/layers" -mindepth 1 -maxdepth 1 | wc -l; }

before=$(layers)
kiln build "${profiles[@]}" --jobs 2 --no-boot --output "$work/built" --json --events "$work/events"
expect_status 0
# "shared" is one layer for all; "own", and the seal that stands on it, are each one's.
[ $(($(layers) - before)) = 9 ] || fail "$(($(layers) - before)) new layers"
[ "$(json "$work/out" 'len({s["layer"] for b in it["builds"] for s in b["steps"] if s["id"] == "shared"})')" = 1 ] ||
  fail "the shared layer is not one"
[ "$(json "$work/out" '[b["profile"] for b in it["builds"]]')" = "['one', 'two', 'three', 'four']" ] || fail "not in order"
for one in one two three four; do
  qemu-img check -q "$work/built/$one/$one.qcow2" || fail "$one is damaged"
  grep -q "\"event\":\"step_ends\".*\"profile\":\"$one\".*\"step\":\"export_qcow2\"" "$work/events" || fail "no event tells of $one"
done
# Two were at work at once: a step of one began before one of another had ended.
two_at_once
leaves_nothing 5
