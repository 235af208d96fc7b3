#!/bin/sh
# Containers that ran when the power was cut are started by dockerd itself at boot: before the environment was read, on standby
# too. The first start of dockerd in a boot takes them away; appliance.service makes them anew.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
[ ! -e "$run/docker-started" ] || exit 0
docker ps --all --quiet --filter label=com.docker.compose.project=appliance | xargs -r docker rm --force
: >"$run/docker-started"
