#!/bin/bash
# Follows the addresses of this machine, and keeps stunnel on those of the uplinks: started with the first, stopped with the
# last, told to read its configuration again when they changed. Runs for ever.
set -euo pipefail
unit=appliance-stunnel.service

# An address that went away while stunnel bound to it leaves a stunnel that listens nowhere, and comes back to the same text.
listens() {
  systemctl is-active -q $unit &&
    [ "$(ss -ltnp | grep -c '"stunnel4"')" = "$(grep -c ^accept /run/appliance-stunnel/stunnel.conf)" ]
}

adjust() {
  local status=0
  /usr/local/share/appliance/stunnel-config.sh || status=$?
  case $status in
    0) listens || systemctl restart --no-block $unit ;;
    3) systemctl reload-or-restart --no-block $unit ;;
    4) ! systemctl is-active -q $unit || systemctl stop --no-block $unit ;;
    # what is wrong is said already; it may be over in a minute
    *) ;;
  esac
}

exec < <(exec ip -o monitor address)
# the last to go, as the service counts as stopped when none of its processes is left
trap 'kill $! 2>/dev/null || true; wait; exit 0' TERM
while true; do
  adjust || true
  # every minute too, whatever was missed
  status=0
  read -r -t 60 _ || status=$?
  # more than 128: the minute is over; else nobody tells of changes any more
  [ $status = 0 ] || [ $status -gt 128 ] || exit 1
  # what changes by the dozen is looked at once
  sleep 1
  while read -r -t 0; do read -r _ || exit 1; done
done
