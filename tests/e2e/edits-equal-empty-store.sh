#!/usr/bin/env bash
# Twenty seeded edits of files, modes, links and options, back and forth: what the store gives after each is what a store
# that holds nothing but the base gives.
#
#   KILN_EDITS=20    how many
#   KILN_SEED=...    printed; the same seed gives the same edits
# label: soak
# needs: soak-minimal
# timeout: 7200
. "$(dirname "$0")/common.inc"

need_root "compares mounted images"
edits=${KILN_EDITS:-20}
seed=${KILN_SEED:-$(date +%s)}
echo "seed $seed, $edits edits"

# random MAX WHAT: a number below MAX that depends on seed, round and WHAT alone.
random() { printf '%d' $((0x$(printf '%s' "$seed $round $2" | sha256sum | cut -c 1-12) % $1)); }

own_store
mkdir -p "$work/one/srv" "$work/two/srv"
text=0 mode=0 target=0 extra=0 unit=0
write() {
  echo "text $text" >"$work/one/srv/text"
  chmod "$([ "$mode" = 0 ] && echo 644 || echo 755)" "$work/one/srv/text"
  ln -sfn "text$target" "$work/two/srv/link"
  rm -rf "$work/two/srv/extra"
  [ "$extra" = 0 ] || mkdir "$work/two/srv/extra"
  [ "$extra" != 2 ] || echo more >"$work/two/srv/extra/file"
  cat >"$work/edited.yml" <<END_OF_PROFILE
description: edited
extends: $top/profiles/minimal.yml
steps:
  - id: one
    overlay: {tree: $work/one}
  - id: two
    overlay: {tree: $work/two}
  - id: switches
    systemd_units: {$(case $unit in 0) echo 'enable: [fstrim.timer]' ;; 1) echo 'disable: [fstrim.timer]' ;; *) echo 'mask: [fstrim.timer]' ;; esac)}
END_OF_PROFILE
}

reused=0
for ((round = 0; round < edits; ++round)); do
  case $(random 5 which) in
    0) text=$(random 3 value) ;;
    1) mode=$((1 - mode)) ;;
    2) target=$(random 2 value) ;;
    3) extra=$(random 3 value) ;;
    4) unit=$(random 3 value) ;;
  esac
  write
  kiln build "$work/edited.yml" --until seal --output "$work/built" --json
  expect_status 0
  kept_layer=$(layer_of seal)
  hits=$(json "$work/out" 'sum(s["reused"] for s in it["builds"][0]["steps"])')
  reused=$((reused + hits))
  shared=$store
  only_the_base
  kiln build "$work/edited.yml" --until seal --output "$work/built" --json
  expect_status 0
  [ "$(json "$work/out" 'sum(s["reused"] for s in it["builds"][0]["steps"])')" = 1 ] || fail "the empty store had more than the base"
  echo "edit $((round + 1)): $hits steps reused"
  same_content "$shared/layers/$kept_layer/image.qcow2" "$store/layers/$(layer_of seal)/image.qcow2"
  rm -rf "$store"
  store=$shared
done
# The base alone would be one a build.
[ "$reused" -gt $((edits * 2)) ] || fail "the store was hardly used: $reused steps in $edits builds"
