#!/usr/bin/env bash
# `kiln check` and `kiln plan` work where there is no network at all, and ask for none.
# label: guest
# timeout: 60
. "$(dirname "$0")/common.inc"

[ "$(id -u)" = 0 ] && apart=(unshare -n) || apart=(unshare -rn)
"${apart[@]}" true || skip "no network namespace can be made here"
for verb in check "plan --store $work/store"; do
  for profile in minimal ecs-bookworm; do
    # shellcheck disable=SC2086 # a verb with its option
    "${apart[@]}" strace -f -o "$work/trace" -e trace=socket,connect \
      "$KILN" $verb "$profile" >"$work/out" 2>"$work/err" || fail "kiln $verb $profile"
    ! grep -E 'AF_INET' "$work/trace" || fail "kiln $verb $profile asks for the network"
  done
done
