#!/bin/sh
# Starts the appliance, or starts it anew: after a failure was mended, after the environment was changed, after standby.
# usage: appliance-start
# 0: it runs, or is on standby as the environment says; 1: it failed, standard error says why
set -eu
if [ $# -gt 0 ]; then
  sed -n '2,4s/^# //p' "$0"
  case $1 in -h | --help) exit 0 ;; esac
  exit 2
fi
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

steps='prepare-env.service prepare-appliance.service appliance-images.service prepare-ecs.service'
chain="$steps appliance.service"

# A start that goes on, the boot's too, is waited for: what is ended in its middle has failed.
goes_on() {
  for _unit in $steps; do
    if [ "$(systemctl show --property=ActiveState --value "$_unit")" = activating ]; then return; fi
  done
  return 1
}
_said=
for _ in $(seq 3600); do
  goes_on || break
  [ -n "$_said" ] || echo 'a start is going on, it is waited for: journalctl -f -u prepare-env -u prepare-appliance -u prepare-ecs' >&2
  _said=yes
  sleep 0.5
done

rm -f "$failed_flag" "$updating_flag" "$run"/reason.*
if systemctl -q is-failed appliance-storage.service; then "$share/storage.sh" restart; fi
# shellcheck disable=SC2086
systemctl reset-failed $chain 2>/dev/null || true
systemctl restart appliance.service || true
# it tries again by itself some times, and the flag is written by a unit that its failure starts
for _ in $(seq 3600); do
  if [ -e "$failed_flag" ] || [ -e "$standby_flag" ] || systemctl -q is-active appliance.service; then break; fi
  sleep 0.5
done
if [ -e "$failed_flag" ]; then
  sed 's/^/failed: /' "$failed_flag" >&2
  exit 1
elif [ -e "$standby_flag" ]; then
  echo 'the appliance is on standby'
else
  echo 'the appliance runs'
fi
