#!/bin/bash
# Where /data and /volatile lie: in the root file system, or in file systems labelled ecs-data and ecs-volatile.
# usage: storage.sh boot       mounts what is labelled, or leaves the folders; appliance-storage.service, before any service
#        storage.sh settled    whether all is as the environment says; nothing is changed
#        storage.sh apply      makes it so while the appliance runs
#        storage.sh restart    looks for the disks again, after one was plugged in or relabelled
#
# What the environment says is known at boot when it lies on the machine or on a drive. An environment that comes by network is
# not: what the last one said is remembered. Where nothing is said, a labelled file system is taken if there is one.
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

share=/usr/local/share/appliance
run=/run/appliance
active=/run/active-env.yml
memory=/var/lib/appliance/storage.yml # the part of the last environment that is about storage
patience=${STORAGE_PATIENCE:-90}      # seconds that a disk which has to be there may take
moving=.appliance-move-in             # on a disk into which something is being moved: a folder, and a list beside it
install -d -m 0755 "$run"

die() {
  printf '%s\n' "$1" >"$run/reason.appliance-storage"
  printf '%s\n' "$1" >&2
  appliance-status 'The appliance could not start' "$1" || true
  exit 1
}

# the environment that counts goes to $env; nothing when there is none
env=''
find_env() {
  if [ -s "$active" ]; then
    env=$active
  elif timeout 30 kiln-env update --active "$run/storage-env.yml" >"$run/storage-env.log" 2>&1; then
    env=$run/storage-env.yml
  elif [ -s "$memory" ]; then
    env=$memory
  fi
}

# wants data|volatile: says own, folder or unknown
wants() {
  local ignore=''
  [ -z "$env" ] || ignore=$(
    eval "$(flatyaml appliance "$env" 2>/dev/null)"
    if [ "$1" = data ]; then echo "${APPLIANCE_STORAGE_IGNORE_DATA-}"; else echo "${APPLIANCE_STORAGE_IGNORE_VOLATILE-}"; fi
  )
  case $ignore in
    true) echo folder ;;
    false) echo own ;;
    *) echo unknown ;;
  esac
}

set_up() {
  "$share/storage-setup.py" "$env" 2>"$run/storage-setup.error" ||
    die "The disks could not be set up as the environment says: $(cat "$run/storage-setup.error")"
  udevadm settle --timeout=30 || true
}
has_setup() { [ -n "$env" ] && flatyaml appliance "$env" 2>/dev/null | grep -q '^APPLIANCE_STORAGE_SETUP_'; }

# devices that carry the label, one a line
labelled() {
  blkid -c /dev/null -o device -t "LABEL=$1" || true
}

empty() { [ -z "$(find "$1" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ]; }

# move_in FOLDER DISK: what the folder holds, to an empty disk that is mounted at DISK. All of it is copied to one folder there;
# when that is whole, its list is laid down and each entry takes its place. A power cut before the list: it starts over; after
# it: it goes on. Until the end nobody but this sees the disk.
move_in() {
  local from=$1 to=$2 need room entry
  if [ ! -e "$to/$moving.list" ]; then
    rm -f "$to/$moving.new"
    rm -rf "${to:?}/$moving"
    need=$(du -sk --one-file-system "$from" | cut -f1)
    room=$(df -Pk "$to" | awk 'NR == 2 {print $4}')
    [ "$room" -gt "$need" ] || die "The disk for $from is too small: $((need / 1024)) MiB are to move in, $((room / 1024)) MiB are free."
    install -d -m 0700 "$to/$moving"
    cp -a --one-file-system "$from/." "$to/$moving/"
    find "$to/$moving" -mindepth 1 -maxdepth 1 -printf '%f\n' >"$to/$moving.new"
    sync
    mv "$to/$moving.new" "$to/$moving.list"
    sync
  fi
  while IFS= read -r entry; do
    if [ -e "$to/$moving/$entry" ] || [ -L "$to/$moving/$entry" ]; then mv -T "$to/$moving/$entry" "$to/$entry"; fi
  done <"$to/$moving.list"
  chmod --reference="$from" "$to"
  chown --reference="$from" "$to"
  sync
  rm -rf "${to:?}/$moving"
  rm "$to/$moving.list"
  sync
  echo "what was in $from has moved in"
}

# place data|volatile
place() {
  local name=$1 label=ecs-$1 at=/$1 want devices='' end aside=$run/disk-$1
  if mountpoint -q "$at"; then return; fi
  want=$(wants "$name")
  if [ "$want" = folder ]; then
    devices=$(labelled "$label")
    [ -z "$devices" ] || echo "$devices, labelled $label, is not used: the environment says to do without (appliance.storage.ignore.$name)"
    return
  fi
  end=$((SECONDS + patience))
  until devices=$(labelled "$label") && [ -n "$devices" ]; do
    if [ "$want" != own ] || [ $SECONDS -ge $end ]; then break; fi
    sleep 1
  done
  case $devices in
    '')
      [ "$want" = own ] || return 0
      # its own folder is empty, or old: a service that starts on it would hide that all data are elsewhere
      die "No file system labelled $label was found. Plug the disk in and start anew, or set appliance.storage.ignore.$name to true in the environment to do without one."
      ;;
    *$'\n'*) die "More than one file system is labelled $label: ${devices//$'\n'/, }. Take away or relabel the one that is not meant, and start anew." ;;
  esac
  # a journal is enough after a power cut; what fsck cannot mend by itself is for a person
  fsck -a "$devices" || [ $? -le 1 ] || die "The file system $label on $devices is damaged: fsck $devices"
  install -d -m 0700 "$aside"
  mount -o noatime "$devices" "$aside" || die "The file system $label on $devices cannot be mounted."
  # content that no move-in has begun is somebody's data, and used as it is
  if empty "$aside" || compgen -G "$aside/$moving*" >/dev/null; then move_in "$at" "$aside"; fi
  umount "$aside"
  rmdir "$aside"
  mount -o noatime "$devices" "$at"
  echo "$at is $label on $devices"
}

# in_force data|volatile: whether it lies where the environment wants it
in_force() {
  case $(wants "$1") in
    own) mountpoint -q "/$1" && [ "$(findmnt -no LABEL "/$1")" = "ecs-$1" ] ;;
    folder) ! mountpoint -q "/$1" || [ "$(findmnt -no LABEL "/$1")" != "ecs-$1" ] ;;
    unknown) mountpoint -q "/$1" || [ -z "$(labelled "ecs-$1")" ] ;;
  esac
}

# stops what has files there, lets the disks take their places, and starts it
restart() {
  local units
  # an engine that is stopped leaves containers running
  [ -z "$(systemctl -q is-active docker && docker ps -q)" ] || die 'The disks change, and containers are running: reboot the appliance.'
  systemctl restart appliance-storage.service
  read -ra units <<<"$(systemctl show --property=RequisiteOf appliance-storage.service | cut -d= -f2)"
  # also what was not started because a disk was missing
  systemctl reset-failed "${units[@]}" docker.socket 2>/dev/null || true
  [ ${#units[@]} = 0 ] || systemctl start "${units[@]}"
}

[ "${1-}" != boot ] || udevadm settle --timeout=60 || true
trap 'rm -f "$run/storage-env.yml"' EXIT
find_env
case ${1-} in
  boot)
    rm -f "$run/reason.appliance-storage"
    if has_setup; then set_up; fi
    place data
    place volatile
    # what a disk of an older image, or a wiped one, lacks
    systemd-tmpfiles --create --prefix=/data --prefix=/volatile || true
    ;;
  settled)
    [ -s "$active" ] || exit 0
    "$share/storage-setup.py" --remembers "$memory" "$active" && in_force data && in_force volatile
    ;;
  apply)
    [ -s "$active" ] || exit 0
    "$share/storage-setup.py" --remember "$memory" "$active"
    if has_setup; then set_up; fi
    if in_force data && in_force volatile; then exit 0; fi
    if [ "$(wants data)" = folder ] && ! in_force data || [ "$(wants volatile)" = folder ] && ! in_force volatile; then
      echo "a file system is in use that the environment says to do without: it is left out from the next boot on"
      exit 0
    fi
    restart
    ;;
  restart) restart ;;
  *)
    sed -n 's/^# usage: //p; s/^#        storage/storage/p' "$0" >&2
    exit 2
    ;;
esac
