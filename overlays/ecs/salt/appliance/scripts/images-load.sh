#!/bin/bash
# The images that the appliance brings are in docker's store when it is baked. Where they are not, because /volatile was wiped,
# or is another disk, or has those of an older appliance, they are loaded from archives beside their list; no network is
# asked. Each has its name by the list again then, but for `ecs`: what runs under that name is prepare-ecs' to say.
set -euo pipefail
unit=appliance-images
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

archives=("$images"/images*.tar.zst)

# missing: names of the list whose image is not in the store
missing() {
  local name id found
  while read -r name id; do
    found=$(image_of "$id") || return 1
    [ "$found" = "$id" ] || printf ' %s' "$name"
  done <"$images_list"
}

# the archives have an `ecs` of their own
ecs_back() {
  local found
  found=$(image_of ecs) || return 1
  [ "$found" != "$before" ] || return 0
  if [ -n "$before" ]; then docker tag "$before" ecs; else docker image rm --no-prune ecs; fi
}

damaged=$(grep -vE '^[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9._-]+ sha256:[0-9a-f]{64}$' "$images_list" || true)
[ -z "$damaged" ] || die "The list of the appliance's images is damaged: $images_list"

silent='Docker does not answer, so the images of the application could not be looked at: journalctl -u docker'
before=$(image_of ecs) || die "$silent"
names=$(missing) || die "$silent"
if [ -n "$names" ]; then
  progress 'Loading the images of the application.'
  [ -s "${archives[0]}" ] ||
    die "Images of the appliance are missing in docker's store, and it brings no archive to load them from:$names"
  for archive in "${archives[@]}"; do
    if ! said=$(zstd -dcq "$archive" | docker load --quiet 2>&1); then
      printf '%s\n' "$said" >&2
      ecs_back || true
      die "The archive of the appliance's images cannot be loaded, it is damaged or there is no room: $archive"
    fi
  done
  names=$(missing) || die "$silent"
  [ -z "$names" ] || die "The archive of the appliance's images lacks some that its list names:$names"
  echo 'the images were loaded from the archive'
fi

while read -r name id; do
  # its other name keeps it from being cleaned away while another application runs
  [ "$name" != ecs:latest ] || name=$embedded_image
  found=$(image_of "$name") || die "$silent"
  [ "$found" = "$id" ] || docker tag "$id" "$name"
done <"$images_list"

ecs_back || die "$silent"
