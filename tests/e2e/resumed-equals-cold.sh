#!/usr/bin/env bash
# A guest that has settled is kept, and the next build of a step on the same layer resumes it; what comes of it is what
# comes of a boot.
# label: guest
# needs: salt
# timeout: 1500
. "$(dirname "$0")/common.inc"

need_root "compares mounted images"
own_store
rm -rf "$store/settled"
highstate() { # OPTION...
  kiln build tests/e2e/profiles/salt-passes.yml --until salt_highstate --from salt_highstate --output "$work/built" --json \
    --events "$work/events" "$@"
  expect_status 0
  layer_of salt_highstate
}
does() { grep -q "\"what\":\"$1\"" "$work/events"; }

highstate >"$work/said"
{ does 'keeping the settled guest' && does 'resuming the settled guest'; } || fail "the first build kept no guest"
highstate >"$work/said"
resumed=$(tail -n 1 "$work/said")
does 'resuming the settled guest' || fail "no guest was resumed"
! does 'starting QEMU' || fail "a guest was booted all the same"
highstate --cold-boot >"$work/said"
cold=$(tail -n 1 "$work/said")
does 'starting QEMU' || fail "--cold-boot did not boot"
[ "$resumed" != "$cold" ] || fail "nothing was built"
same_content "$store/layers/$resumed/image.qcow2" "$store/layers/$cold/image.qcow2"
