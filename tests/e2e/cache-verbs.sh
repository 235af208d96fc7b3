#!/usr/bin/env bash
# `kiln cache`: shows the layers, finds one that is damaged so that the next build makes it and its children again, leaves a
# store alone that is in use, and empties it when it is not.
# label: guest
# needs: minimal
# timeout: 600
. "$(dirname "$0")/common.inc"

own_store
kiln build minimal --until seal --output "$work/built" --json
expect_status 0
middle=$(layer_of systemd_units)
child=$(layer_of seal)
key=$(json "$work/out" 'it["builds"][0]["steps"][-1]["key"]')

kiln cache ls
expect_status 0
for step in base_debian overlay systemd_units seal; do says "^[0-9a-f]{8} +.*$step"; done
says "^${middle:0:8} +systemd_units "
says '^layers +[0-9]+ '
image=$store/layers/$middle/image.qcow2
kiln cache path minimal@systemd_units
[ "$(cat "$work/out")" = "$image" ] || fail "another path than $image"

# One byte of the guest's data is another; the time of the file is put back.
at=$(($(stat -c %s "$image") - 70000))
byte=$(od -An -tu1 -j "$at" -N 1 "$image")
touch -r "$image" "$work/time"
chmod 0644 "$image"
# shellcheck disable=SC2059 # the format is the byte
printf "\\$(printf '%03o' $((byte ^ 255)))" | dd of="$image" bs=1 seek="$at" conv=notrunc status=none
touch -r "$work/time" "$image"
chmod 0444 "$image"
kiln cache verify
expect_status 1
says "^damaged: layer $middle, step 'systemd_units'"
says "^damaged: layer $child, step 'seal'"
[ ! -e "$store/layers/$middle" ] || fail "the damaged layer is still there"
[ -s "$store/failed/damaged-$middle/image.qcow2" ] || fail "it was not set aside"
kiln cache path minimal@systemd_units
expect_status 1
says 'minimal --until systemd_units'

kiln build minimal --until seal --output "$work/built" --json
expect_status 0
[ "$(json "$work/out" '[s["reused"] for s in it["builds"][0]["steps"]]')" = '[True, True, False, False]' ] ||
  fail "other steps than the damaged one and its child were made again"
for step in base_debian overlay systemd_units seal; do
  layer=$store/layers/$(layer_of "$step")/image.qcow2
  qemu-img check -q "$layer" || fail "qemu-img check of $step"
done
child=$(layer_of seal)
kiln cache verify
expect_status 0

# A build that waits for the lock of its last step has the store open.
rm -rf "$store/layers/$child"
exec 9>"$store/stages/.$key.lock"
flock 9
"$KILN" build minimal --until seal --store "$store" --output "$work/built" >"$work/built.out" 2>"$work/built.err" </dev/null 9>&- &
builder=$!
wait_for 60 "waiting for the lock" grep -q 'waiting for it' "$work/built.err"
kiln cache gc --max-size 0
expect_status 1
says "in use by (process $builder|another kiln), and nothing was removed"
exec 9>&-
wait "$builder" || { cat "$work/built.err"; fail "the build beside gc"; }

kiln cache gc --max-size 0
expect_status 0
for folder in layers artifacts packages/debs failed tmp; do
  [ -z "$(ls -A "$store/$folder")" ] || fail "something is left in $folder"
done
kiln plan minimal --until overlay
says 'miss .*evicted'
leaves_nothing 5
