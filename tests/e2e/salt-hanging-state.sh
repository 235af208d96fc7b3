#!/usr/bin/env bash
# A state that hangs ends at --timeout with the step's name; nothing is left behind; mended, the next build succeeds.
# label: guest
# needs: salt
# timeout: 1200
. "$(dirname "$0")/common.inc"

own_store
mkdir "$work/profiles"
cp -r tests/e2e/states/hangs "$work/states"
sed -e "s|salt\.yml|$here/profiles/salt.yml|" -e 's|\.\./states/hangs|../states|' \
  tests/e2e/profiles/salt-hangs.yml >"$work/profiles/salt-hangs.yml"
began=$SECONDS
kiln build "$work/profiles/salt-hangs.yml" --until salt_highstate --timeout 180 --output "$work/built"
expect_status 1
says 'salt_highstate'
says '180 s|3 min'
[ $((SECONDS - began)) -lt 900 ] || fail "it took $((SECONDS - began)) s"
leaves_nothing 5
sed -i 's/sleep infinity/true/' "$work/states/hangs.sls"
kiln build "$work/profiles/salt-hangs.yml" --until salt_highstate --output "$work/built"
expect_status 0
