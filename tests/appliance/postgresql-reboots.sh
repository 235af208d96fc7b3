#!/usr/bin/env bash
# 5432 answers from a container after three reboots and after a restart of docker: docker0 is there before PostgreSQL starts.
# shellcheck source=machine.inc
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=containers.inc
. "$here/containers.inc"

make_image psql
url=$(guest sed -n 's/^DATABASE_URL=//p' /app/etc/database_url.env)
ask() { contained psql -XAtc "$1" "$url"; }
moment() { # PROPERTY UNIT: microseconds since boot
  guest systemctl show --property "$1" --value "$2"
}
# docker0 is done when the server begins to start; a unit that did not run has the moment 0
before() {
  local ready begun
  ready=$(moment ActiveEnterTimestampMonotonic "$1")
  begun=$(moment InactiveExitTimestampMonotonic "$2")
  echo "$1 $ready, $2 $begun"
  [ "$ready" -gt 0 ] && [ "$ready" -le "$begun" ]
}
server=$(guest sh -c 'systemctl list-units --plain --no-legend "postgresql@*" | cut -d " " -f 1')

ask 'set client_min_messages = warning; drop table if exists test_reboots; create table test_reboots (n int)' >/dev/null
for n in 1 2 3; do
  ask "insert into test_reboots values ($n)" >/dev/null
  reboot_guest
  wait_for 120 "reboot $n: docker answers" guest docker info
  check "reboot $n: docker0 was there before $server" before docker0.service "$server"
  check "reboot $n: 5432 answers from a container, with the rows of before" test "$(ask 'select count(*) from test_reboots')" = "$n"
done
guest systemctl restart docker
check 'after a restart of docker 5432 answers from a container' test "$(ask 'select count(*) from test_reboots')" = 3
guest sh -c 'systemctl stop docker.socket docker && systemctl start docker'
check 'and after a stop and a start' test "$(ask 'select count(*) from test_reboots')" = 3
guest systemctl restart "$server"
check 'and after a restart of PostgreSQL' test "$(ask 'select count(*) from test_reboots')" = 3
ask 'drop table test_reboots' >/dev/null
remove_image
finish_checks
