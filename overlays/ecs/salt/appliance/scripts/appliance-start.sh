#!/bin/sh
# Starts the appliance, or starts it anew: after a failure was mended, after the environment was changed, after standby.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

rm -f "$failed_flag" "$updating_flag" "$run"/reason.*
if systemctl -q is-failed appliance-storage.service; then "$share/storage.sh" restart; fi
chain='prepare-env.service prepare-appliance.service appliance-images.service prepare-ecs.service appliance.service'
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
