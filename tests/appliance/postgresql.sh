#!/usr/bin/env bash
# PostgreSQL is the application's alone: who may come, from where, how the password is kept, what follows memory and cores, and
# an empty data disk.
# shellcheck source=machine.inc
# label: boot
# timeout: 1200
. "$(dirname "$0")/machine.inc"
# shellcheck source=containers.inc
. "$here/containers.inc"

admin() { guest runuser -u postgres -- psql -XAtc "$1" "${2:-postgres}"; }
is() { [ "$1" = "$2" ] || { printf 'is:     %s\nshould: %s\n' "$1" "$2"; return 1; }; }
says() { is "$(admin "$1" "${3:-postgres}")" "$2"; }
refused() { # PATTERN COMMAND...
  local pattern=$1
  shift
  if "$@" >"$work/refused" 2>&1; then echo 'it was let in'; return 1; fi
  grep -E "$pattern" "$work/refused" || { cat "$work/refused"; return 1; }
}
from_container() { # PASSWORD ROLE DATABASE
  guest docker run --rm --network bridge -e PGPASSWORD="$1" -e PGCONNECT_TIMEOUT=20 $container_image psql -XAtc 'select 1' -h 172.17.0.1 -U "$2" "$3"
}

make_image psql
password=$(guest cat /data/etc/database.password)

check 'the database ecs is owned by app' says "select pg_get_userbyid(datdba) from pg_database where datname = 'ecs'" app
check 'app is no superuser and makes neither roles nor databases' says \
  "select rolsuper or rolcreaterole or rolcreatedb or rolreplication from pg_roles where rolname = 'app'" f
check 'the password is kept as scram' says "select left(rolpassword, 13) from pg_authid where rolname = 'app'" SCRAM-SHA-256
check 'data is in /data/postgresql' says "select current_setting('data_directory') like '/%/postgresql/%/main'" t
check '/var/lib/postgresql leads there' is "$(guest readlink -f /var/lib/postgresql)" /data/postgresql
check 'time is UTC, TLS off' says "select current_setting('timezone') || current_setting('log_timezone') || current_setting('ssl')" UTCUTCoff
check 'UTF8, and sorted by C.UTF-8' says \
  "select pg_encoding_to_char(encoding) || datcollate || datctype from pg_database where datname = 'ecs'" UTF8C.UTF-8C.UTF-8
check 'it listens on loopback and docker0 only' is "$(guest sh -c "ss -Hlnt 'sport = :5432' | awk '{print \$4}' | sort | xargs")" \
  '127.0.0.1:5432 172.17.0.1:5432'

check 'a container comes as app, to ecs, with the password' from_container "$password" app ecs
url=$(guest sed -n 's/^DATABASE_URL=//p' /app/etc/database_url.env)
check 'a container comes by database_url.env' contained psql -XAtc 'create table test_url (); drop table test_url' "$url"
check 'a wrong password is refused' refused 'password authentication failed' from_container wrong app ecs
check 'another database is refused' refused 'no pg_hba.conf entry' from_container "$password" app postgres
check 'another role is refused' refused 'no pg_hba.conf entry' from_container "$password" postgres ecs
check 'app by loopback is refused' refused 'no pg_hba.conf entry' guest env PGPASSWORD="$password" psql -XAtc 'select 1' -h 127.0.0.1 -U app ecs
closed() { ! timeout 10 bash -c "exec 3<>/dev/tcp/$guest4/$1"; }
check 'nobody comes from outside' closed 5432
check "the system's app comes to ecs by the socket" guest runuser -u app -- psql -XAtc 'select 1' ecs
check "the system's app comes to no other database" refused 'no pg_hba.conf entry' guest runuser -u app -- psql -XAtc 'select 1' postgres
check "root is not taken for app" refused 'Peer authentication failed' guest psql -XAtc 'select 1' -U app ecs

for file in database.password database_url.env; do
  check "/app/etc/$file is root's alone" is "$(guest stat -L -c '%U %a' /app/etc/$file)" 'root 600'
done
check 'both hold the same password' is "$url" "postgres://app:$password@172.17.0.1:5432/ecs"
# found TEXT: in what the server and the units wrote; by a file descriptor of its own, so that it is in no argv
found() {
  printf %s "$1" | guest sh -c 'exec 3<&0; { journalctl -b -o cat --no-pager; cat /var/log/postgresql/*.log; } </dev/null | grep -q -F -f /dev/fd/3'
}
not_found() { ! found "$1"; }
guest systemctl restart appliance-database
check 'what a server logs can be found' found 'database system is ready to accept connections'
check 'the password is in no log' not_found "$password"
check 'a second start keeps the password' is "$(guest cat /data/etc/database.password)" "$password"
check 'and the role has it' from_container "$password" app ecs

settings() { guest /usr/local/share/appliance/postgres-tune.sh 15 "$@" | grep -v '^#'; }
setting() { settings "$1" "$2" | sed -n "s/^$3 = \([0-9]*\).*/\1/p"; }
version=$(admin 'show server_version' | cut -d. -f1)
while read -r name _ value; do
  check "$name is $value" says "select setting::bigint * case unit when '8kB' then 8192 when 'kB' then 1024 else 1 end = \
    case when '$value' like '%MB' then pg_size_bytes('$value') else '${value//[!0-9]/}'::bigint end from pg_settings where name = '$name'" t
done < <(guest /usr/local/share/appliance/postgres-tune.sh "$version" | grep -v '^#')
fits() { # MIB CORES: all connections at work at once, and the rest of the machine has half
  local mib=$1 cores=$2
  [ $(($(setting "$mib" "$cores" shared_buffers) + $(setting "$mib" "$cores" max_connections) * $(setting "$mib" "$cores" work_mem))) -le $((mib / 2)) ]
}
for size in '1024 1' '1024 4' '2048 2' '8192 4' '65536 32'; do
  # shellcheck disable=SC2086 # two words
  check "settings fit into $size (MiB, cores)" fits $size
done

# another data disk, an empty one
guest systemctl stop postgresql@"$version"-main
guest sh -c 'mv /data/postgresql /data/postgresql.kept; systemctl restart appliance-postgres; systemctl start appliance-database'
check 'an empty data disk gets a cluster, with checksums' says 'show data_checksums' on
check 'and a role and a database that fit the password' from_container "$password" app ecs
guest systemctl stop postgresql@"$version"-main
guest sh -c 'rm -rf /data/postgresql; mv /data/postgresql.kept /data/postgresql; systemctl restart appliance-postgres; systemctl start appliance-database'
check 'the disk of before is used as it was' from_container "$password" app ecs
guest sh -c "systemctl stop postgresql@$version-main; chown -R 105:110 /data/postgresql; systemctl restart appliance-postgres; systemctl start appliance-database"
check 'a disk of an image with other numbers is taken over' from_container "$password" app ecs
check 'nothing on it is of another number' test "$(guest find /data/postgresql ! -user 410 -o ! -group 410)" = ''
remove_image
finish_checks
