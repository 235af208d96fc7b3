#!/usr/bin/env bash
# A kernel panic in a build guest is found within seconds and shown with the console's last lines.
# label: guest
# needs: salt
# timeout: 900
. "$(dirname "$0")/common.inc"

own_store
start build tests/e2e/profiles/panics.yml --until salt_highstate --output "$work/built"
panicked=''
while kill -0 "$child" 2>/dev/null; do
  if [ -z "$panicked" ] && console_says 'Kernel panic - not syncing'; then panicked=$SECONDS; fi
  sleep 0.3
done
ended
expect_status 1
says 'panic'
says 'sysrq triggered crash'
[ -z "$panicked" ] || [ $((SECONDS - panicked)) -le 8 ] || fail "found $((SECONDS - panicked)) s after the panic"
leaves_nothing 5
