#!/bin/sh
# After a start: removes containers, volumes and images that nothing uses any more. Images with a name stay, and so does the
# build cache of a week: what comes next is built quicker.
set -eu
docker container prune --force
docker volume prune --force
docker image prune --force
docker builder prune --force --filter until=168h
# images of commits that ran before; the last build stays for the way back
docker image ls --format '{{.Repository}}:{{.Tag}}' ecs | grep -E '^ecs:[0-9a-f]{40}$' | tail -n +3 | xargs -r docker image rm || true
