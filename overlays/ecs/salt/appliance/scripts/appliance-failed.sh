#!/bin/sh
# A unit of the appliance has failed: /run/appliance-failed, which nothing is started beside, a tag, and the page says why.
# usage: appliance-failed.sh UNIT
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
what=${1%.service}

# A unit that was not started because one before it failed has nothing to tell, unless that is none of the appliance's.
if ! systemctl -q is-failed "$what.service" &&
  systemctl -q is-failed prepare-env.service prepare-appliance.service appliance-images.service prepare-ecs.service appliance.service; then
  exit 0
fi
# the first failure is the one that counts
[ ! -e "$failed_flag" ] || exit 0

reason=$(cat "$run/reason.$what" 2>/dev/null) || reason="The unit $what failed: journalctl -u $what"
printf '%s\n%s\n' "$what" "$reason" >"$failed_flag"
rm -f "$updating_flag"
echo "$what: $reason"
status failed 'The appliance could not start' "$reason

When that is mended: appliance-start, or a reboot."
tag last_failed_appliance "$(now) $what: $(printf '%s' "$reason" | head -n 1)"
