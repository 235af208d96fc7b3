#!/bin/bash
# Brings the cluster of an older PostgreSQL into one of this version. The old server is started on the old data once more, the
# new tools read it out and the new server takes it in; the new cluster is used only when each table has the same rows in both.
# The old one is kept as /data/postgresql/OLD/main.upgraded until somebody removes it.
#
# A server of the old version is taken from /usr/lib/postgresql/OLD; from /app/etc/postgresql-OLD, a folder or a link to one, with
# its bin, lib and share; or from the data disk, where postgres-keep.sh has left it. When there is none, but the flag /app/etc/flags/force.update.postgres, the newest dump in
# /data/ecs-pgdump is taken in instead: what was written after it is not in the new cluster. Else nothing is touched.
#
# usage: postgres-upgrade.sh OLD NEW, versions such as 14 15; PostgreSQL must not run
set -euo pipefail
umask 077
cd /
old=$1 new=$2
data=/data/postgresql
work=$data/upgrade
flag=/app/etc/flags/force.update.postgres
dumps=/data/ecs-pgdump
new_bin=/usr/lib/postgresql/$new/bin

reason=
stop() { # TEXT: the old cluster is as it was
  reason=$1
  exit 1
}

as_postgres() { runuser -u postgres -- "$@"; }

find_old() { # prints the folder with the old programs
  local folder
  for folder in "/usr/lib/postgresql/$old" "/app/etc/postgresql-$old" "/data/postgresql-program/$old"; do
    if [ -x "$folder/bin/postgres" ]; then
      realpath "$folder"
      return
    fi
  done
  return 1
}

find_dump() { # prints the newest dump
  find "$dumps" -maxdepth 1 -name '*.pgdump' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2- | grep .
}

# start NAME PROGRAM DATA: a server that nobody else reaches, with a socket in the work folder
start() {
  local conf=$work/$1.conf
  install -d -o postgres -g postgres "$conf" "$work/$1.socket"
  cat >"$conf/postgresql.conf" <<END
data_directory = '$3'
hba_file = '$conf/pg_hba.conf'
ident_file = '$conf/pg_ident.conf'
listen_addresses = ''
unix_socket_directories = '$work/$1.socket'
max_connections = 20
END
  echo 'local all postgres peer' >"$conf/pg_hba.conf"
  : >"$conf/pg_ident.conf"
  chown -R postgres:postgres "$conf"
  runuser -u postgres -- "$2" -D "$conf" >"$work/$1.log" 2>&1 &
  pids[$1]=$! clusters[$1]=$3
  # an old cluster may have to recover first
  until as_postgres "$new_bin/pg_isready" -q -h "$work/$1.socket"; do
    kill -0 "${pids[$1]}" 2>/dev/null || {
      cat "$work/$1.log" >&2
      stop "The $1 server did not start: journalctl -u appliance-postgres"
    }
    sleep 0.2
  done
}

halt() { # NAME: cleanly; its status tells whether it was
  local pid=${pids[$1]}
  unset "pids[$1]"
  # not runuser, which started it and waits for it
  kill -INT "$(head -n 1 "${clusters[$1]}/postmaster.pid")"
  wait "$pid"
}

sql() { # NAME DATABASE: runs SQL of stdin
  as_postgres "$new_bin/psql" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host="$work/$1.socket" --dbname="$2"
}

databases() { echo "select datname from pg_database where datallowconn and datname <> 'template1' order by 1" | sql "$1" postgres; }

# rows NAME DATABASE: each table with the number of its rows and a sum over what is in them, each sequence with its value
rows() {
  sql "$1" "$2" <<'END'
set timezone = 'UTC';
set extra_float_digits = 0;
select format('select %L, count(*), sum((''x'' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric) from only %I.%I t',
              n.nspname || '.' || c.relname, n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by n.nspname, c.relname \gexec
select format('select %L, last_value, is_called from %I.%I', n.nspname || '.' || c.relname, n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'S' and n.nspname !~ '^pg_' order by n.nspname, c.relname \gexec
END
}

make_new() {
  install -d -o postgres -g postgres "$work"
  as_postgres "$new_bin/initdb" --pgdata="$work/main" --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth=peer >/dev/null
  rm "$work/main/postgresql.conf" "$work"/main/pg_*.conf
  start new "$new_bin/postgres" "$work/main"
}

take_cluster() { # PROGRAM
  local needed free names database create
  needed=$(du -sk "$data/$old/main" | cut -f 1)
  free=$(df -k --output=avail "$data" | tail -n 1)
  [ "$free" -gt "$needed" ] ||
    stop "The upgrade from PostgreSQL $old to $new needs $((needed / 1024)) MiB on /data, and $((free / 1024)) MiB are free."
  make_new
  start old "$1" "$data/$old/main"
  as_postgres "$new_bin/pg_dumpall" --host="$work/old.socket" --globals-only | grep -v '^CREATE ROLE postgres;$' | sql new postgres >/dev/null
  names=$(databases old)
  for database in $names; do
    create=(--create --dbname=postgres)
    [ "$database" != postgres ] || create=(--dbname=postgres)
    as_postgres "$new_bin/pg_dump" --host="$work/old.socket" --format=custom --compress=0 "$database" |
      as_postgres "$new_bin/pg_restore" --host="$work/new.socket" --exit-on-error "${create[@]}"
  done
  for database in $names; do
    rows old "$database" >"$work/rows.old"
    rows new "$database" >"$work/rows.new"
    cmp "$work/rows.old" "$work/rows.new" || stop "The upgraded database '$database' has not the same rows as the old one."
    echo "$database: $(wc -l <"$work/rows.new") tables and sequences are the same"
    echo 'analyze' | sql new "$database"
  done
  halt old
}

take_dump() { # FILE
  make_new
  sql new postgres <<'END'
create role app login;
create database ecs owner app;
END
  as_postgres "$new_bin/pg_restore" --host="$work/new.socket" --exit-on-error --no-owner --no-privileges --role=app --dbname=ecs <"$1"
  echo 'analyze' | sql new ecs
}

finish() { # whatever happened: no server of this program stays, and a failure is told
  local status=$? name
  trap - EXIT
  for name in "${!pids[@]}"; do halt "$name" || true; done
  rm -rf "$work"
  if [ $status != 0 ]; then
    reason=${reason:-The upgrade from PostgreSQL $old to $new failed: journalctl -u appliance-postgres. The old database is as it was.}
    echo "$reason" >/run/appliance/reason.appliance-postgres
    /usr/local/sbin/appliance-status 'The database could not be upgraded' "$reason" || true
    echo "$reason" >&2
  fi
  exit $status
}

declare -A pids=() clusters=()
install -d -m 0755 /run/appliance
trap finish EXIT
trap 'exit 1' INT TERM
program=$(find_old) || program=
dump=$(find_dump) || dump=
if [ -z "$program" ] && [ ! -e "$flag" ]; then
  stop "The data disk holds a database of PostgreSQL $old, this appliance has version $new, and no server of version $old to read it
with. Nothing was changed. Put the programs of PostgreSQL $old into /app/etc/postgresql-$old and reboot, or start the appliance
that was used before.${dump:+ Or make the file $flag and reboot: the dump of $(date -u -r "$dump" '+%F %H:%M') UTC
is taken in then, without what was written after it.}"
fi
[ -n "$program$dump" ] || stop "The data disk holds a database of PostgreSQL $old, and no dump to take in is in $dumps. Nothing was changed."

/usr/local/sbin/appliance-status 'The database is being upgraded' "From PostgreSQL $old to $new. This may take a while." || true
rm -rf "$work"
if [ -n "$program" ]; then
  echo "upgrading $data/$old/main to $new by $program"
  take_cluster "$program/bin/postgres"
else
  echo "taking in $dump instead of $data/$old/main"
  take_dump "$dump"
fi
halt new
sync
install -d -o postgres -g postgres -m 0755 "$data/$new"
mv "$work/main" "$data/$new/main"
mv "$data/$old/main" "$data/$old/main.upgraded"
sync
rm -f "$flag"
/usr/local/sbin/appliance-status --clear || true
echo "upgraded; the old cluster is kept in $data/$old/main.upgraded"
