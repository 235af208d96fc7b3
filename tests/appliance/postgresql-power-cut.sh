#!/usr/bin/env bash
# The power is cut while PostgreSQL writes: each row whose commit was told is there afterwards, and the tables are sound.
# shellcheck source=machine.inc
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"

admin() { guest runuser -u postgres -- psql -XAtc "$1" ecs; }

admin 'set client_min_messages = warning; drop table if exists test_power; create table test_power (n int primary key, filler text)' >/dev/null
# the number of a row is printed when its commit is told, one commit a row
guest runuser -u postgres -- sh -c "
  seq 1 10000000 | sed \"s/.*/insert into test_power values (&, repeat('x', 500)) returning n;/\" |
  stdbuf -oL psql -XAtq ecs" >"$work/told" 2>/dev/null &
writer=$!
rows() { [ "$(wc -l <"$work/told")" -ge "$1" ]; }
wait_for 120 '500 rows are committed' rows 500
sleep 3
cut_power
wait $writer || true
# what the pipe still held when the power went may end within a number
told=$(head -n -1 "$work/told" | wc -l)
echo "      $told commits were told"
wait_for 300 'PostgreSQL recovers by itself' admin 'select 1'
check "all $told rows are there" test "$(admin "select count(*) from test_power where n <= $told")" = "$told"
check 'the index and the table agree' test \
  "$(admin 'set enable_seqscan = off; select count(*) from test_power where n > 0' | tail -n 1)" = \
  "$(admin 'set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off; select count(*) from test_power where n > 0' | tail -n 1)"
check 'each page reads well' guest runuser -u postgres -- sh -c 'pg_dump ecs >/dev/null'
check 'it recovered, so the cut was one' guest sh -c \
  'tail -n 60 /var/log/postgresql/*-main.log | grep "database system was not properly shut down"'
admin 'drop table test_power' >/dev/null
finish_checks
