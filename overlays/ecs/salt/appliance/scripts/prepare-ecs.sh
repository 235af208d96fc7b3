#!/bin/sh
# Started next: the image `ecs` that the containers run from. With ecs.git.source it is built from that repository, else it is
# the one the appliance brings. Another one than the database is for starts from a dump: it migrates, then it has to start beside
# the appliance. On any failure, a power cut too, dump and last image come back together and the appliance goes on with them.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

source=/app/ecs
dump=$dumps/before-migration.pgdump
# there from the moment the dump is whole until the migrated application is the one that runs; holds its name, and that of the
# one the dump belongs to
migrating=$dumps/migration-running
# seconds that a new application has till it answers
patience=300
silent='Docker does not answer, so the application could not be looked at: journalctl -u docker'

# name_of IMAGE: what tags call the application in it: its commit, or its id where it is not from git
name_of() {
  _name=$(commit_of "$1" && image_of "$1") || die "$silent"
  printf '%s\n' "$_name" | sed -n '/./{p;q}'
}

# usable: whether the image `ecs` is the one that the database is for
usable() {
  _runs=$(name_of ecs) || exit 1
  [ -n "$_runs" ] && [ "$_runs" = "$(tagged last_migration_ecs)" ]
}

# there IMAGE: whether there is one
there() {
  _id=$(image_of "$1") || die "$silent"
  [ -n "$_id" ]
}

# fetch_source: /app/ecs becomes what the environment asks for; its commit on standard output
fetch_source() {
  [ -z "$forced" ] || rm -rf "$source"
  [ -d "$source/.git" ] || git init -q "$source" >&2 || return 1
  # of a git that was ended, or had its power cut: no other works here
  find "$source/.git" -name '*.lock' -type f -delete
  # the newest of the branch; of a pinned commit nothing is asked when it is here
  if [ -z "$ECS_GIT_COMMITID" ] || ! git -C "$source" cat-file -e "$ECS_GIT_COMMITID^{commit}" 2>/dev/null; then
    git_fetch "$source" "$ECS_GIT_SOURCE" "+refs/heads/$ECS_GIT_BRANCH:refs/remotes/appliance/branch" || return 1
  fi
  git -C "$source" checkout -q --force --detach "${ECS_GIT_COMMITID:-refs/remotes/appliance/branch}" >&2 || return 1
  git -C "$source" clean -qffdx >&2 || return 1
  git -C "$source" rev-parse HEAD
}

# build COMMIT: the image ecs:COMMIT; two hours at most, as nothing runs meanwhile
build() {
  set -- "$1" ${forced:+--no-cache}
  timeout --kill-after=30 7200 docker build --quiet ${2:+"$2"} --label "ecs.commit=$1" --tag "ecs:$1" "$source"
}

# run_image IMAGE ARGUMENT...: docker compose run, with the settings of the environment; nobody else gets to see them
run_image() {
  (
    export ECS_IMAGE="$1" ECS_SETTINGS ECS_USERSWITCHER_ENABLED APPLIANCE_DOMAIN SENTRY_DSN
    shift
    exec timeout --kill-after=30 "$limit" docker-compose --project-name appliance --file "$share/docker-compose.yml" run --no-deps "$@"
  )
}

# in_image IMAGE COMMAND [SECONDS]: of the application, in a container of it alone
in_image() {
  limit=${3:-infinity}
  run_image "$1" --rm -T ecs.web "$2"
}

trial=appliance-trial
roles='web worker beat smtpd'

# answers: whether the trial's web role does; by the image's own health check, or by what comes from its port
answers() {
  case $(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}' "$trial-web") in
    healthy) ;;
    none) curl -s -o /dev/null --max-time 5 "http://$(docker inspect --format '{{.NetworkSettings.IPAddress}}' "$trial-web"):5000/" ;;
    *) return 1 ;;
  esac
}

# all_run: each role of the trial does, and never had to be started again
all_run() {
  for _role in $roles; do
    [ "$(docker inspect --format '{{.State.Running}} {{.RestartCount}}' "$trial-$_role" 2>/dev/null)" = 'true 0' ] || return 1
  done
}

# starts IMAGE: its roles do, on the migrated database and beside the appliance: no port leads to them, and no queue is there. When
# the web role answers, the others have had as long to fail.
starts() {
  limit=$patience _result=0
  for _role in $roles; do
    run_image "$1" --detach --name "$trial-$_role" "ecs.$_role" "$_role" >/dev/null || _result=1
  done
  _end=$(($(date +%s) + patience))
  while [ $_result = 0 ]; do
    all_run || _result=1
    if answers; then break; fi
    [ "$(date +%s)" -lt $_end ] || _result=1
    sleep 1
  done
  for _role in $roles; do
    [ $_result = 0 ] || docker logs --tail 30 "$trial-$_role" >&2 || true
    docker rm --force "$trial-$_role" >/dev/null || true
  done
  [ $_result = 0 ] && in_image "$1" check $patience
}

# gone_wrong NAME WHAT: for tags, journal and page
gone_wrong() {
  tag last_failed_ecs "$1"
  printf '%s\n' "$2" >"$run/failed-ecs"
  echo "$1 $2" >&2
}

# end_trials: containers of a migration or a trial end, which outlive who has started them: none goes on in a database that was
# brought back
end_trials() {
  for _ in $(seq 30); do
    _trials=$(docker ps --all --quiet --filter label=com.docker.compose.project=appliance --filter label=com.docker.compose.oneoff=True) || return 1
    [ -n "$_trials" ] || return 0
    # one that is just being removed is an error, and gone a moment later
    # shellcheck disable=SC2086 # words
    docker rm --force $_trials >/dev/null 2>&1 || sleep 1
  done
  return 1
}

# go_back: the database as it was before the migration, and the image that belongs to it
go_back() {
  end_trials || die 'A migration failed, and its container could not be ended: journalctl -u prepare-ecs'
  echo "going back to what ran before $(head -n 1 "$migrating")"
  restore_database "$dump" || die 'A migration failed, and its dump could not be read back: journalctl -u prepare-ecs'
  ! there ecs:last || docker tag ecs:last ecs
  _before=$(sed -n 2p "$migrating")
  if [ -n "$_before" ]; then tag last_migration_ecs "$_before"; else untag last_migration_ecs; fi
  sync
  rm -f "$migrating"
}

# change_to IMAGE NAME: dump, migrate, start, and only then is it the image that runs. Where nothing ran before it is not tried
# first: there is nothing to go back to, and the start that follows says the same.
change_to() {
  _try=
  install -d -m 0700 "$dumps"
  if ! dump_database "$dump"; then
    usable || die 'The database could not be dumped before its migration: journalctl -u prepare-ecs'
    gone_wrong "$2" 'was not installed, as the database could not be dumped before its migration'
    return 1
  fi
  if usable; then _try=yes && docker tag ecs ecs:last; else docker image rm --no-prune ecs:last >/dev/null 2>&1 || true; fi
  printf '%s\n' "$2" "$(tagged last_migration_ecs)" >"$migrating.new"
  sync
  mv "$migrating.new" "$migrating"
  sync
  progress 'Migrating the database.'
  if ! in_image "$1" migrate; then
    gone_wrong "$2" 'could not migrate the database'
  else
    [ -z "$_try" ] || progress 'Starting the new application for a try.'
    if [ -z "$_try" ] || starts "$1"; then
      if docker tag "$1" ecs; then
        tag last_migration_ecs "$2"
        untag last_failed_ecs
        sync
        rm -f "$migrating"
        return
      fi
      gone_wrong "$2" 'could not take the place of the one before'
    else
      gone_wrong "$2" 'did not start'
    fi
  fi
  go_back
  return 1
}

# the unit has ended, whatever it was doing
if [ "${1-}" = stopped ]; then
  # docker's socket would start a docker that is down
  ! systemctl -q is-active docker.service || end_trials
  exit
fi

run_hooks prepare-ecs.early

# what the unit's EnvironmentFile gives the containers, a migration's too
load_env ECS_GIT_SOURCE ECS_GIT_BRANCH ECS_GIT_COMMITID ECS_SETTINGS ECS_USERSWITCHER_ENABLED APPLIANCE_DOMAIN APPLIANCE_SENTRY_DSN
SENTRY_DSN=$APPLIANCE_SENTRY_DSN
ECS_USERSWITCHER_ENABLED=${ECS_USERSWITCHER_ENABLED:-false}

# the power went
{ image_of ecs >/dev/null && end_trials; } || die "$silent"
if [ -e "$migrating" ]; then
  gone_wrong "$(head -n 1 "$migrating")" 'was interrupted while it migrated the database'
  go_back
fi

forced=
! flagged ecs || forced=yes
wanted=
if [ -n "$ECS_GIT_SOURCE" ]; then
  progress 'Fetching the application.'
  if ! wanted=$(fetch_source); then
    usable || die 'The application could not be fetched from ecs.git.source: journalctl -u prepare-ecs'
    echo 'the application could not be fetched: going on with the one that is here' >&2
    wanted=
  fi
  image=ecs:$wanted
else
  # by the list; an image that somebody put here by hand is as good where the appliance brings none
  image=$(sed -n 's/^ecs:latest //p' "$images_list" 2>/dev/null) || true
  if [ -z "$image" ]; then
    commit=$(commit_of ecs) || die "$silent"
    [ -n "$commit" ] || image=$(image_of ecs) || die "$silent"
  fi
  there "$image" || die 'No application is installed: there is no image of it, and the environment names no ecs.git.source.'
  wanted=$image
fi

if [ -z "$wanted" ]; then
  :
elif [ -z "$forced" ] && [ "$(tagged last_failed_ecs)" = "$wanted" ] && usable; then
  echo "$wanted failed before: going on with the one that is here; force.update.ecs tries it again" >&2
  [ -s "$run/failed-ecs" ] || echo 'failed before' >"$run/failed-ecs"
elif [ -z "$forced" ] && [ "$(tagged last_migration_ecs)" = "$wanted" ] && there "$image"; then
  rm -f "$run/failed-ecs"
  untag last_failed_ecs
  # it may have been loaded anew
  usable || docker tag "$image" ecs
else
  rm -f "$run/failed-ecs"
  if [ -z "$ECS_GIT_SOURCE" ]; then
    change_to "$image" "$wanted" || true
  else
    progress 'Building the application. This takes some minutes.'
    if build "$wanted"; then
      tag last_build_ecs "$wanted"
      change_to "$image" "$wanted" || true
    else
      gone_wrong "$wanted" 'could not be built'
    fi
  fi
fi
[ -z "$wanted" ] || unflag ecs

notice=
[ -z "$ECS_GIT_SOURCE" ] || [ -n "$wanted" ] ||
  notice='The application could not be fetched from ecs.git.source, and the one that is here goes on. Why: journalctl -u prepare-ecs'
[ ! -s "$run/failed-ecs" ] ||
  notice="A new version of the application $(cat "$run/failed-ecs"), and the one before goes on. Version: $(tagged last_failed_ecs). Why: journalctl -u prepare-ecs"
appliance-status --notice ecs "$notice"
# who runs tells it too; the folder is app's, so app writes
printf '%s\n' "$notice" | setpriv --reuid=app --regid=app --clear-groups sh -c 'cat >/volatile/ecs-cache/notice' || echo 'the application could not be told' >&2
usable || die "The application $(cat "$run/failed-ecs" 2>/dev/null || echo 'is not there'), and there is no other to go on with: journalctl -u prepare-ecs"

run_hooks prepare-ecs.late
