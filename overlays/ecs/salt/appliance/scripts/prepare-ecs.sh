#!/bin/sh
# Started next: the image `ecs` that the containers run from. With ecs.git.source it is built from that repository, else it is
# the one the appliance brings. A migration starts from a dump; on any failure, a power cut too, dump and last image come back
# together and the appliance goes on with them.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

source=/app/ecs
dump=$dumps/before-migration.pgdump
# there from the moment the dump is whole until the migrated application is the one that runs; holds its commit
migrating=$dumps/migration-running

image_of() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }

# fetch_source: /app/ecs becomes what the environment asks for; its commit on standard output
fetch_source() {
  [ -d "$source/.git" ] || git init -q "$source" >&2 || return 1
  # the newest of the branch; of a pinned commit nothing is asked when it is here
  if [ -z "$ECS_GIT_COMMITID" ] || ! git -C "$source" cat-file -e "$ECS_GIT_COMMITID^{commit}" 2>/dev/null; then
    git_fetch "$source" "$ECS_GIT_SOURCE" "+refs/heads/$ECS_GIT_BRANCH:refs/remotes/appliance/branch" || return 1
  fi
  git -C "$source" checkout -q --force --detach "${ECS_GIT_COMMITID:-refs/remotes/appliance/branch}" >&2 || return 1
  git -C "$source" clean -qffdx >&2
  git -C "$source" rev-parse HEAD
}

# build COMMIT: the image ecs:COMMIT
build() {
  set -- "$1" ${forced:+--no-cache}
  docker build --quiet ${2:+"$2"} --label "ecs.commit=$1" --tag "ecs:$1" "$source"
}

# migrate COMMIT: the database, by the new image
migrate() {
  ECS_IMAGE=ecs:$1 compose run --rm --no-deps -T ecs.web migrate
}

# go_back: the database as it was before the migration, and the image that belongs to it
go_back() {
  echo "going back to what ran before $(cat "$migrating")"
  tag last_failed_ecs "$(cat "$migrating")"
  restore_database "$dump" || die 'A migration failed, and its dump could not be read back: journalctl -u prepare-ecs'
  if [ -n "$(image_of ecs:last)" ]; then docker tag ecs:last ecs; else docker image rm ecs 2>/dev/null || true; fi
  sync
  rm -f "$migrating"
}

# change_to COMMIT: dump, migrate, and only then is it the image that runs
change_to() {
  install -d -m 0700 "$dumps"
  dump_database "$dump" || die 'The database could not be dumped before its migration: journalctl -u prepare-ecs'
  if [ -n "$(image_of ecs)" ]; then docker tag ecs ecs:last; fi
  echo "$1" >"$migrating"
  sync
  if migrate "$1"; then
    tag last_migration_ecs "$1"
    docker tag "ecs:$1" ecs
    sync
    rm -f "$migrating"
  else
    go_back
    return 1
  fi
}

run_hooks prepare-ecs.early

# what the unit's EnvironmentFile gives the containers, a migration's too
load_env ECS_GIT_SOURCE ECS_GIT_BRANCH ECS_GIT_COMMITID ECS_SETTINGS APPLIANCE_DOMAIN
export ECS_SETTINGS APPLIANCE_DOMAIN

[ ! -e "$migrating" ] || go_back

if [ -n "$ECS_GIT_SOURCE" ]; then
  forced=
  flagged ecs && forced=yes
  progress 'Fetching the application.'
  if ! commit=$(fetch_source); then
    [ -n "$(image_of ecs)" ] || die 'The application could not be fetched from ecs.git.source: journalctl -u prepare-ecs'
    echo 'the application could not be fetched: going on with the one that is here' >&2
  elif [ -z "$forced" ] && [ "$(tagged last_failed_ecs)" = "$commit" ] && [ -n "$(image_of ecs)" ]; then
    echo "$commit failed before: going on with the one that is here; force.update.ecs tries it again" >&2
  elif [ -n "$forced" ] || [ -z "$(image_of ecs)" ] || [ "$(image_of ecs)" != "$(image_of "ecs:$commit")" ]; then
    progress 'Building the application. This takes some minutes.'
    if build "$commit"; then
      tag last_build_ecs "$commit"
      progress 'Migrating the database.'
      if change_to "$commit"; then untag last_failed_ecs; fi
    else
      tag last_failed_ecs "$commit"
      echo "$commit could not be built" >&2
    fi
    unflag ecs
  fi
  [ -n "$(image_of ecs)" ] || die 'The application could not be built: journalctl -u prepare-ecs'
else
  unflag ecs
fi

[ -n "$(image_of ecs)" ] ||
  die 'No application is installed: there is no image of it, and the environment names no ecs.git.source.'

run_hooks prepare-ecs.late
