#!/usr/bin/env bash
# Salt comes from the lock file into minimal, natively where root allows it; and a guest that has settled on it is kept for
# the scripts that need one.
# label: guest
# gives: salt
# needs: minimal
# timeout: 1200
. "$(dirname "$0")/common.inc"

# A step that no other script has, so that what they build is theirs.
cat >"$work/settles.yml" <<END
extends: $here/profiles/salt.yml
steps:
  - salt_highstate: {tree: $here/states/passes, into: /opt/settles, minion_id: settles}
END
kiln build "$work/settles.yml" --until salt_highstate --output "$work/built"
expect_status 0
find "$store/settled" -name memory.zst | grep -q . || fail "no settled guest is kept"
# what was kept has Salt imported, and runs the highstate by it
layer=$(dirname "$("$KILN" cache path "$work/settles.yml@salt_highstate" --store "$store")")
grep -q "run by a Salt that was imported ahead" "$layer/log" || fail "the highstate began without what was imported"
