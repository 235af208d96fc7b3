#!/bin/bash
# Restores the last backup, on a bare appliance with nothing but its environment: files with their owners, then the database, then
# the appliance is started.
# usage: appliance-restore.sh [--time TIME] [--replace]
#   --time     the backup of that time, as duplicity takes it: 3D, 2026-11-27T00:30:00
#   --replace  although there is something to lose: files in the vault, or tables in the database
set -euo pipefail
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
# shellcheck source=backup.include
. /usr/local/share/appliance/backup.include

time=() replace=
while [ $# -gt 0 ]; do
  case $1 in
    --time) time=(--time "${2:?}") && shift ;;
    --replace) replace=yes ;;
    *)
      sed -n '4,6s/^# //p' "$0" >&2
      exit 2
      ;;
  esac
  shift
done

exec 9>"$run/backup.lock"
flock -n 9 || die 'A backup is running: wait until it is done (journalctl -fu appliance-backup).'
take_turn
echo "environment: $(env-update.sh)"
backup_open
[ -n "$secret" ] || die 'appliance.backup.encrypt is a public key: the secret one is needed to read a backup.'

[ ! -x "$share/postgres-database.sh" ] || "$share/postgres-database.sh"
tables=$(as_postgres psql -qAtX -d "$database" -c "select count(*) from pg_tables where schemaname = 'public'" 2>/dev/null) || tables=0
if [ -z "$replace" ] && { [ "$tables" != 0 ] || [ -n "$(ls -A /data/ecs-storage-vault 2>/dev/null)" ]; }; then
  die 'There are files in the vault or tables in the database. Those of the backup take their place with --replace.'
fi

# into a folder beside, so that a backup that cannot be read changes nothing
new=/data/.restore
rm -rf "$new"
install -d -m 0700 "$new"
backup_tool restore --numeric-owner "${time[@]}" "$url" "$new/data" || die 'The backup could not be read.'
[ -s "$new/data/${backup_dump#/data/}" ] || die 'There is no dump of the database in the backup.'

systemctl stop appliance.service
# from here to its end nothing starts but another restore, not even after a power cut
install -d -m 0755 "${restore_running%/*}"
: >"$restore_running"
sync
status starting 'The appliance is being restored' 'Its files and its database come back from a backup.'
if ! restore_database "$new/data/${backup_dump#/data/}"; then
  rm -f "$restore_running"
  die 'The database could not be restored, and nothing was changed.'
fi
for folder in "${backup_folders[@]}"; do
  [ -d "$new/data/$folder" ] || continue
  if [ "$folder" = etc ]; then
    # what is this machine's own stays
    cp -a "$new/data/etc/." /data/etc/
  else
    rm -rf "$new/before"
    [ ! -e "/data/$folder" ] || mv "/data/$folder" "$new/before"
    mv "$new/data/$folder" "/data/$folder"
  fi
done
sync
rm -f "$restore_running"
sync
rm -rf "$new"
echo 'restored'
end_turn
exec 9>&-
appliance-start
