#!/usr/bin/env bash
# Two builds of the same steps at once: one builds, the other waits and says so; both succeed with one layer.
# label: guest
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

own_store
cat >"$work/side.yml" <<END
extends: $top/profiles/minimal.yml
steps:
  - id: side
    packages:
      install: [postgresql]
END
for n in 1 2; do
  "$KILN" build "$work/side.yml" --until side --store "$store" --output "$work/built-$n" --json >"$work/out-$n" 2>"$work/err-$n" </dev/null &
  builders[n]=$!
done
for n in 1 2; do wait "${builders[n]}" || { cat "$work"/err-*; fail "build $n"; }; done
layers=("$(json "$work/out-1" 'it["builds"][0]["steps"][-1]["layer"]')" "$(json "$work/out-2" 'it["builds"][0]["steps"][-1]["layer"]')")
[ "${layers[0]}" = "${layers[1]}" ] || fail "two layers of one key: ${layers[*]}"
grep -h -i wait "$work/err-1" "$work/err-2" || fail "neither says that it waits"
leaves_nothing 5
