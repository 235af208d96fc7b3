#!/bin/bash
# The backup: a fresh dump of the database, then what is to be kept of /data, encrypted to appliance.backup.encrypt, to
# appliance.backup.url. Once a month it is a full one, else what has changed; three full ones are kept with what hangs on them.
# What was written is read back: the dump that comes out of the target has to be the one that went in.
set -euo pipefail
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
# shellcheck source=backup.include
. /usr/local/share/appliance/backup.include

failed() {
  tag last_failed_backup "$(now) $1"
  echo "$1" >&2
  exit 1
}
# die speaks of the backup alone: the appliance itself has not failed
die() { failed "$1"; }

exec 9>"$run/backup.lock"
flock -n 9 || { echo 'a backup is running' >&2; exit 1; }
backup_open

install -d -m 0700 "$dumps"
dump_database "$backup_dump" || failed 'The database could not be dumped.'

cd /data
selection=()
for path in "${backup_excludes[@]}"; do selection+=(--exclude "/data/$path"); done
for folder in "${backup_folders[@]}"; do
  [ ! -d "$folder" ] || selection+=(--include "/data/$folder")
done
backup_tool --full-if-older-than 1M "${selection[@]}" --exclude '**' /data "$url" || failed 'duplicity could not write the backup.'

if [ -n "$secret" ]; then
  check=$(mktemp -d "$backup_work/tmp.XXXXXX")
  backup_tool restore --file-to-restore "${backup_dump#/data/}" "$url" "$check/dump" || failed 'The backup could not be read back.'
  cmp "$check/dump" "$backup_dump" || failed 'What was read back from the backup is not what went in.'
  echo 'read back: the dump is the same'
else
  echo 'not read back: appliance.backup.encrypt is a public key' >&2
fi
backup_tool remove-all-but-n-full 3 --force "$url" || failed 'Old backups could not be removed.'
backup_tool cleanup --force "$url" || failed 'What a broken backup left could not be removed.'

tag last_backup "$(now)"
untag last_failed_backup
