#!/bin/sh
# Watches over the containers: ends, and with it the unit, when one of them has ended for good. It asks the engine again and
# again and is not attached to it, for with live-restore the containers go on while dockerd is restarted.
# usage: appliance-containers.sh watch | wait    wait: until all run, are well, and the application answers; 10 minutes at most
set -eu
unit=appliance
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

# the state of each container: its service, running or not, and what docker says of that in words
states() {
  all=$(docker ps --all --filter label=com.docker.compose.project=appliance --filter label=com.docker.compose.oneoff=False \
    --format '{{.Label "com.docker.compose.service"}} {{.State}} {{.Status}}') || return 1
  printf '%s\n' "$all"
}

# well SERVICE: it runs, and its health check, where it has one, has passed. Signatures and citizen cards are no reason to keep
# everything else from the committee: there it is enough that the check has said something.
well() {
  case $1 in
    pdfas | mocca) _unwell='\(health: starting\)' ;;
    *) _unwell='\(health: starting\)|\(unhealthy\)' ;;
  esac
  printf '%s\n' "$now" | grep -E "^$1 running " | grep -qvE "$_unwell"
}

watch() {
  away=0 before=
  services=$(compose config --services)
  while sleep 5; do
    if ! now=$(states 2>/dev/null); then
      away=$((away + 1))
      [ $away -lt 60 ] || die 'The docker engine does not answer.'
      continue
    fi
    away=0
    ended=$(printf '%s\n' "$now" | awk '$2 == "exited" || $2 == "dead" {printf " %s", $1}')
    # one that somebody has removed
    for service in $services; do
      printf '%s\n' "$now" | grep -q "^$service " || ended="$ended $service"
    done
    # one that is being restarted, after a renewal of the certificate or by its own policy, is seen as ended once
    [ -z "$ended" ] || [ "$ended" != "$before" ] || die "A part of the application has ended:$ended"
    before=$ended
  done
}

wait_for_all() {
  # of a start before; who watches looks for some seconds before it gives up
  rm -f "$run/reason.$unit"
  services=$(compose config --services)
  end=$(($(date +%s) + 600)) missing=all
  while [ "$(date +%s)" -lt $end ]; do
    # who watches has given up, and said why
    [ ! -e "$run/reason.$unit" ] || exit 1
    now=$(states 2>/dev/null || true)
    missing=
    for service in $services; do
      well "$service" || missing="$missing $service"
    done
    if [ -z "$missing" ] && curl -s -o /dev/null --max-time 5 http://127.0.0.1:5000/; then break; fi
    missing=${missing:- ecs.web}
    sleep 1
  done
  [ -z "$missing" ] || die "Parts of the application do not answer:$missing"
  tag last_running_appliance "$(tree_commit)"
  tag last_running_ecs "$(tagged last_migration_ecs)"
  tag last_running_ecs_image "$(image_of ecs)"
  appliance-status --clear
}

case $1 in
  watch) watch ;;
  wait) wait_for_all ;;
esac
