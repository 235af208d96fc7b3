#!/bin/sh
# After a start: removes containers that have ended, volumes that none uses, images without a name, caches of builds, and
# applications from git but the one that runs and the one before it. What the appliance brings has a name and stays.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

docker container prune --force
docker volume prune --force
runs=$(image_of ecs)
before=$(image_of ecs:last)
docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' ecs | while read -r name id; do
  case $name in
    # a commit's
    ecs:????????????????????????????????????????) ;;
    *) continue ;;
  esac
  case " $runs $before " in
    *" $id "*) ;;
    *) docker image rm "$name" || echo "$name could not be removed" >&2 ;;
  esac
done
docker image prune --force
docker builder prune --all --force
