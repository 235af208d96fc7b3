#!/usr/bin/env bash
# SIGKILL to the first process of each container: it is back and well within half a minute, its users find it again, and no job
# is lost. What the life cycle stops stays stopped. A program that takes too much memory takes nobody with it.
# shellcheck disable=SC2016
# label: soak
# needs: application
# timeout: 3600
# cores: 2
machine_state=ecs
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$here/stand-in.inc"
# shellcheck source=ecs.inc
. "$here/ecs.inc"
at_end=leave_ecs

start_ecs
wait_for 120 'each container is healthy' all_healthy
starts_of_unit() { guest systemctl show -p NRestarts --value appliance; }
restarts=$(starts_of_unit)

echo '# each alone'
came_back() { # SERVICE PID
  [ "$(init_of "$1")" != "$2" ] && healthy "$1"
}
for service in "${services[@]}"; do
  pid=$(init_of "$service") since=$SECONDS
  guest kill -KILL "$pid"
  wait_for 30 "$service is back and healthy" came_back "$service" "$pid"
  echo "      after $((SECONDS - since)) s"
done
green_within 120 'after all of them everything is green'
check 'the others were left alone: docker itself brought each back' test "$(starts_of_unit)" = "$restarts"

echo '# all at once: addresses may change hands'
pids=()
for service in "${services[@]}"; do pids+=("$(init_of "$service")"); done
guest kill -KILL "${pids[@]}"
wait_for 60 'all are healthy again' all_healthy
green_within 180 'and green'

echo '# jobs'
client worker
# the worker holds still, and jobs wait in redis
guest docker pause "$(container ecs.worker)" >/dev/null
count() { sql "select count(*) from core_job where state = '$1'"; }
done_before=$(count 'done')
for _ in 1 2 3 4 5; do act do/job >"$work/acted"; done
check 'five jobs are queued' test "$(count queued)" = 5
pid=$(init_of redis)
guest kill -KILL "$pid"
wait_for 30 'redis is back' came_back redis "$pid"
guest docker unpause "$(container ecs.worker)" >/dev/null
all_done() { [ "$(count 'done')" = $((done_before + 5)) ] && [ "$(count queued)" = 0 ]; }
wait_for 120 'each of them is done' all_done
# and the worker in the middle of one
act do/job >"$work/acted"
pid=$(init_of ecs.worker)
guest kill -KILL "$pid"
wait_for 30 'the worker is back' came_back ecs.worker "$pid"
none_queued() { [ "$(count queued)" = 0 ] && [ "$(count failed)" = 0 ]; }
# a job that was being done comes again after the broker's time-out
wait_for 400 'what it was doing is done' none_queued

echo '# memory'
web=$(init_of ecs.web)
greedy() { guest docker exec "$(container ecs.web)" python3 -c 'b = b"x" * (1 << 30); print(len(b))'; }
no_room() { ! greedy; }
check 'a program that takes more than its container may have is ended' no_room
check 'the page is there' front_is 200 ''
check 'by the same container' test "$(init_of ecs.web)" = "$web"

echo '# the life cycle'
guest systemctl stop appliance
sleep 10
check 'what was stopped stays stopped' no_containers
check 'and starts again' guest appliance-start
green_within 240 'all is green'
guest docker kill "$(container ecs.beat)" >/dev/null
restarted() { [ "$(starts_of_unit)" != "$restarts" ] && all_healthy; }
wait_for 240 'docker kill counts as stopped by hand: the life cycle brings all back' restarted
restarts=$(starts_of_unit)
guest docker rm --force "$(container memcached)" >/dev/null
wait_for 240 'and one that was removed' restarted

finish_checks
