#!/usr/bin/env bash
# Programs of the appliance that ask the docker engine, beside a stand-in of it that can be silent: who cannot be asked has not
# said "there is none". Nothing is taken away then, and the application that runs goes on.
# Needs jq.
# shellcheck disable=SC2016 # for another shell
# label: guest
# timeout: 120
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../overlays/ecs/salt/appliance/scripts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

check() { # DESCRIPTION COMMAND...
  if "${@:2}" >"$work/check" 2>&1; then
    echo "ok    $1"
  else
    failed=1
    echo "FAIL  $1"
    sed 's/^/      /' "$work/check"
  fi
}
refused() { ! "$@"; }

# ---- a machine of folders: the programs name their places in a few variables

share=$work/share
mkdir -p "$work"/{bin,run,var,docker/tags,docker/labels,docker/containers} "$work/etc/tags" "$share/images" "$work/dumps"
for name in docker-links images-load prepare-ecs appliance-cleanup appliance-containers appliance-start; do
  sed -e "s|/usr/local/share/appliance|$share|g" "$scripts/$name.sh" >"$share/$name.sh"
done
sed -e "s|/usr/local/share/appliance|$share|g; s|=/run/appliance-|=$work/run/appliance-|; s|=/run/appliance|=$work/run|; s|=/run/|=$work/run/|" \
  -e "s|=/app/etc|=$work/etc|; s|=/data/ecs-pgdump|=$work/dumps|; s|=/var/lib/appliance|=$work/var|; s|seq 60|seq 2|" \
  "$scripts/appliance.include" >"$share/appliance.include"
check 'no place of this machine is named any more' refused grep -nE '=/(run|app/etc|data|var|usr)' "$share/appliance.include"

program() { cat >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
export W=$work PATH=$work/bin:$PATH
# names are files with an id, of which labels/ID is the commit; containers/ID has what `docker inspect` says
program docker <<'FAKE'
#!/bin/bash
cd "$W/docker" || exit 1
printf '%s\n' "$*" >>"$W/asked"
if [ -e silent ]; then echo 'Cannot connect to the Docker daemon. Is the docker daemon running?' >&2; exit 1; fi
id_of() { case $1 in sha256:*) grep -qsx "$1" tags/* && echo "$1" ;; *:*) cat "tags/$1" 2>/dev/null ;; *) cat "tags/$1:latest" 2>/dev/null ;; esac; }
full() { case $1 in *:*) echo "$1" ;; *) echo "$1:latest" ;; esac; }
case "$1 $2" in
  'version '*) ;;
  'image inspect')
    id=$(id_of "$5") || { echo; echo "Error response from daemon: No such image: $5" >&2; exit 1; }
    case $4 in *commit*) cat "labels/$id" 2>/dev/null || echo ;; *) echo "$id" ;; esac
    ;;
  'image rm') shift 2; [ "$1" != --no-prune ] || shift; rm "tags/$(full "$1")" ;;
  'image ls') for file in tags/ecs:*; do echo "${file#tags/} $(cat "$file")"; done ;;
  'tag '*) id=$(id_of "$2") && echo "$id" >"tags/$(full "$3")" ;;
  'build '*)
    while [ $# -gt 1 ]; do case $1 in --tag) name=$2 ;; --label) label=${2#*=} ;; esac; shift; done
    id=sha256:$(printf '%s' "$name" | sha256sum | cut -d ' ' -f 1)
    echo "$id" >"tags/$name"; echo "$label" >"labels/$id"
    ;;
  'ps '*) case $* in *oneoff=False*) cat states ;; *oneoff*) cat oneoff 2>/dev/null || true ;; *) (cd containers && printf '%s\n' *) ;; esac ;;
  'inspect --format') case $3 in *Running*) if [ -e "$W/ends-${*: -1}" ]; then echo 'false 0'; else echo 'true 0'; fi ;; *Health*) echo healthy ;; esac ;;
  'inspect '*) shift; (cd containers && jq -s . "$@") ;;
  'rm '*) rm -f oneoff ;;
  'load '*) read -r name; cp "loads/$name/"* tags/ ;;
esac
FAKE
# what `docker compose run` starts; the last word is the role
program docker-compose <<'FAKE'
#!/bin/bash
case $* in *'config --services') printf '%s\n' ecs.web redis; exit ;; esac
echo "${*: -1} $ECS_IMAGE $ECS_SETTINGS" >>"$W/roles"
[ ! -e "$W/fails-${*: -1}" ] || { echo leftover >"$W/docker/oneoff"; exit 1; }
FAKE
program iptables <<'FAKE'
#!/bin/bash
[ ! -e "$W/no-iptables" ] || exit 4
case $2 in
  -S) sed 's/^/-A DOCKER /' "$W/rules" ;;
  -A) echo "${*:4}" >>"$W/rules" ;;
  -D) grep -vxF -e "${*:4}" "$W/rules" >"$W/rules.new"; mv "$W/rules.new" "$W/rules" ;;
esac
FAKE
program runuser <<'FAKE'
#!/bin/bash
case "$*" in
  *pg_dump*) [ ! -e "$W/no-dump" ] && echo dump ;;
  *) cat >/dev/null; echo "$*" >>"$W/database" ;;
esac
FAKE
program flatyaml <<'FAKE'
#!/bin/bash
cat "$W/env"
FAKE
program appliance-status <<'FAKE'
#!/bin/bash
case $1 in --notice) echo "$3" >"$W/notice.$2" ;; esac
FAKE
program setpriv <<'FAKE'
#!/bin/bash
cat >"$W/told"
FAKE
program curl <<<'#!/bin/sh'
# a start goes on while there is a file `starting`, which it takes away
program systemctl <<'FAKE'
#!/bin/bash
case $* in
  *is-failed*) exit 1 ;;
  show*prepare-ecs.service) [ ! -e "$W/starting" ] || { rm "$W/starting"; echo activating; } ;;
  'restart '*) [ ! -e "$W/starting" ] && echo "$*" >>"$W/restarted" ;;
esac
FAKE
image() { echo "sha256:$(printf '%s' "$1" | sha256sum | cut -d ' ' -f 1)"; }
tag_is() { [ "$(cat "$work/docker/tags/$1" 2>/dev/null)" = "$2" ]; }
silent() { touch "$work/docker/silent"; }
speaks() { rm -f "$work/docker/silent"; }

# ---- ways of links

container() { # NAME ADDRESS PORTS LINKS
  printf '{"Name": "/%s", "NetworkSettings": {"IPAddress": "%s", "Ports": %s}, "HostConfig": {"Links": %s}}\n' "$@" >"$work/docker/containers/$1"
}
: >"$work/rules"
container redis 172.17.0.2 '{"6379/tcp": null}' null
container web 172.17.0.3 '{}' '["/redis:/web/redis"]'
links() { sh "$share/docker-links.sh"; }
check 'a link has its two rules' bash -c '"$@" && [ "$(wc -l <"$W/rules")" = 2 ]' bash sh "$share/docker-links.sh"
cp "$work/rules" "$work/rules.before"
unchanged() { cmp "$work/rules" "$work/rules.before"; }
# as the service does it: where errexit is off
follows() { sh -c 'sed "s/^case .*/put_right || echo failed; exit/" "$1" >"$W/follow.sh"; sh "$W/follow.sh"' sh "$share/docker-links.sh"; }
check 'a second look changes nothing' bash -c '"$@"' bash sh "$share/docker-links.sh"
check 'nothing twice' unchanged
silent
follows >"$work/said" 2>&1
check 'an engine that is silent: it is told' grep -q failed "$work/said"
check 'and no way is closed' unchanged
speaks
touch "$work/no-iptables"
follows >"$work/said" 2>&1
rm "$work/no-iptables"
check 'rules that cannot be read are not made again' unchanged
rm "$work/docker/containers/redis"
links
check 'a container that went: its ways are closed' test ! -s "$work/rules"

# ---- the images that the appliance brings

embedded=$(image embedded) redis=$(image redis) mine=$(image mine)
more=$(image more)
printf '%s\n' "ecs:latest $embedded" "redis:latest $redis" "more:1 $more" >"$share/images/images.list"
echo first | zstd -q >"$share/images/images.tar.zst"
echo second | zstd -q >"$share/images/images-2.tar.zst"
mkdir -p "$work/docker/loads/"{first,second}
echo "$embedded" >"$work/docker/loads/first/ecs:latest"
echo "$redis" >"$work/docker/loads/first/redis:latest"
# what a further step of images brought
echo "$more" >"$work/docker/loads/second/more:1"
check 'an empty store: the images are loaded' bash "$share/images-load.sh"
check 'redis has its name' tag_is redis:latest "$redis"
check 'so has what the second archive brings' tag_is more:1 "$more"
check 'the application has its other one' tag_is ecs:embedded "$embedded"
# a build has a name of its own too, by which the engine finds it
echo "$mine" >"$work/docker/tags/ecs:latest"
echo "$mine" >"$work/docker/tags/ecs:mine"
: >"$work/asked"
check 'all there: nothing is loaded' bash "$share/images-load.sh"
check 'no load was asked for' refused grep -q '^load' "$work/asked"
rm "$work/docker/tags/more:1"
# the other one is loaded before it, and has an `ecs` of its own
echo first | zstd -qf -o "$share/images/images-2.tar.zst"
echo damaged >"$share/images/images.tar.zst"
check 'the damaged one of two archives is named' bash -c '! bash "$1" 2>/dev/null && grep -q "cannot be loaded.*/images.tar.zst" "$W/run/reason.appliance-images"' bash "$share/images-load.sh"
check 'and the application that runs keeps its name' tag_is ecs:latest "$mine"
echo "$more" >"$work/docker/tags/more:1"
: >"$work/asked"
silent
check 'an engine that is silent: that is what is told' bash -c '! bash "$1" && grep -q "does not answer" "$W/run/reason.appliance-images"' bash "$share/images-load.sh"
speaks
check 'and the application that runs keeps its name' tag_is ecs:latest "$mine"
check 'nothing was loaded or taken away' refused grep -qE '^(load|image rm|tag)' "$work/asked"

# ---- the application from git

git init -qb main "$work/repository"
commit() {
  echo "$1" >"$work/repository/file"
  git -C "$work/repository" add file
  git -C "$work/repository" -c user.name=test -c user.email=test@example.org commit -qm "$1"
  git -C "$work/repository" rev-parse HEAD
}
sed -i "s|^source=.*|source=$work/app|" "$share/prepare-ecs.sh"
one=$(commit one)
printf '%s\n' "ECS_GIT_SOURCE='file://$work/repository'" "ECS_SETTINGS='SECRET'" >"$work/env"
prepare() { : >"$work/roles"; : >"$work/database"; sh "$share/prepare-ecs.sh"; }
restored() { grep -q pg_restore "$work/database"; }
runs() { tag_is ecs:latest "$(cat "$work/docker/tags/ecs:$1")" && [ "$(cat "$work/etc/tags/last_migration_ecs")" = "$1" ]; }
goes_on() { prepare && runs "$1"; }
check 'it is built, migrated and takes its place' goes_on "$one"
check 'the migration got the settings of the environment' grep -qx 'migrate ecs:.* SECRET' "$work/roles"
two=$(commit two)
touch "$work/no-dump"
check 'a database that cannot be dumped: the one before goes on' goes_on "$one"
check 'and that is told' grep -q 'could not be dumped' "$work/notice.ecs" "$work/told"
check 'nothing was migrated' refused grep -q migrate "$work/roles"
rm "$work/no-dump"
rm "$work/etc/tags/last_failed_ecs"
touch "$work/fails-migrate"
check 'a migration that fails: the one before goes on' goes_on "$one"
check 'its container is ended' test ! -e "$work/docker/oneoff"
check 'before the database is back' restored
rm "$work/fails-migrate"
touch "$work/fails-check"
rm "$work/etc/tags/last_failed_ecs"
check 'a check that fails: the one before goes on' goes_on "$one"
check 'it was tried before' grep -q '^web ' "$work/roles"
check 'and its database is back' restored
rm "$work/fails-check"
touch "$work/ends-appliance-trial-worker"
rm "$work/etc/tags/last_failed_ecs"
check 'a worker that ends: the one before goes on' goes_on "$one"
check 'and its database is back' restored
rm "$work/ends-appliance-trial-worker" "$work/etc/tags/last_failed_ecs" "$work/run/failed-ecs"
mv "$work/repository" "$work/away"
check 'a repository that is away: the one before goes on' goes_on "$one"
check 'and that is told' grep -q 'could not be fetched' "$work/notice.ecs"
mv "$work/away" "$work/repository"
silent
: >"$work/asked"
check 'an engine that is silent: that is what is told' bash -c '! sh "$1" && grep -q "does not answer" "$W/run/reason.prepare-ecs"' bash "$share/prepare-ecs.sh"
check 'and nothing is taken away or built' refused grep -qE '^(image rm|tag|build)' "$work/asked"
speaks
check 'it goes on: the newer one takes its place' goes_on "$two"
check 'and nothing is told any more' test -z "$(cat "$work/notice.ecs")"
echo leftover >"$work/docker/oneoff"
check 'the unit ends: so does what it started' sh "$share/prepare-ecs.sh" stopped
check 'no container of it is left' test ! -e "$work/docker/oneoff"

# ---- starting anew

check 'asked for help, a start gives it and does nothing' bash -c 'sh "$1" --help | grep -qx "usage: appliance-start" && [ ! -e "$W/restarted" ]' bash "$share/appliance-start.sh"
starting() { touch "$work/starting" && sh "$share/appliance-start.sh" && grep -q 'restart appliance' "$work/restarted"; }
check 'a start waits for the one that goes on' starting

# ---- cleaning up

three=$(commit three)
# of a git whose power was cut
touch "$work/app/.git/index.lock" "$work/app/.git/shallow.lock"
check 'a third one takes its place' goes_on "$three"
check 'cleaned up' sh "$share/appliance-cleanup.sh"
check 'the one that runs and the one before are kept' test -e "$work/docker/tags/ecs:$three" -a -e "$work/docker/tags/ecs:$two"
check 'the first is not' test ! -e "$work/docker/tags/ecs:$one"

# ---- watching over containers

sed -i 's/sleep 5/sleep 0.1/' "$share/appliance-containers.sh"
states() { printf '%s\n' "$@" >"$work/docker/states.new" && mv "$work/docker/states.new" "$work/docker/states"; }
states 'ecs.web running Up 1 minute (healthy)' 'redis running Up 1 minute'
sh "$share/appliance-containers.sh" watch >"$work/watch" 2>&1 &
watch=$!
sleep 1
check 'while all run it watches' kill -0 $watch
states 'ecs.web running Up 1 minute (healthy)' 'redis exited Exited (137)'
sleep 0.05
states 'ecs.web running Up 1 minute (healthy)' 'redis running Up 1 second'
sleep 1
check 'one that comes back is no reason to end' kill -0 $watch
states 'ecs.web running Up 1 minute (healthy)'
status=0
timeout 10 tail --pid=$watch -f /dev/null
wait $watch || status=$?
check 'one that was removed is' test $status = 1
check 'and which it was is told' grep -qx 'A part of the application has ended: redis' "$work/run/reason.appliance"
[ $failed = 0 ]
