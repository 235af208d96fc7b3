#!/bin/sh
# Started first: finds the environment and puts it in force as /run/active-env.yml. `appliance.standby` ends the start here, and
# is no failure: the units that follow look at /run/appliance-standby.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

rm -f "$run"/reason.prepare-* "$run/reason.appliance" "$run/reason.appliance-images"
progress 'Reading the environment.'
if ! said=$(env-update.sh 2>&1); then
  # what it says names file, line and key, and no value
  die "$said"
fi
echo "environment: $said"

load_env APPLIANCE_STANDBY
if [ "$APPLIANCE_STANDBY" = true ]; then
  : >"$standby_flag"
  echo 'on standby: nothing else is started'
  status standby 'The appliance is on standby' 'It is kept ready and serves nobody. To take it into service, set appliance.standby to false in its environment and run appliance-start.'
else
  rm -f "$standby_flag"
fi
