#!/bin/sh
# Starts the appliance, or starts it anew: after a failure was mended, after the environment was changed, after standby.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

rm -f "$failed_flag" "$updating_flag" "$run"/reason.*
chain='prepare-env.service prepare-appliance.service prepare-ecs.service appliance.service'
# shellcheck disable=SC2086
systemctl reset-failed $chain 2>/dev/null || true
systemctl restart appliance.service || true
if systemctl -q is-active appliance.service; then
  echo 'the appliance runs'
elif [ -e "$standby_flag" ]; then
  echo 'the appliance is on standby'
else
  # the flag is written by a unit that is started by the failure
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ ! -e "$failed_flag" ] || break
    sleep 0.5
  done
  sed 's/^/failed: /' "$failed_flag" >&2
  exit 1
fi
