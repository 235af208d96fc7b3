#!/usr/bin/env bash
# The life cycle of the appliance, on images that stand in for its containers: order of the units, what the containers are given,
# hooks, standby; each way to fail, with the page that says why, nothing that starts again, and the documented way back.
# shellcheck disable=SC2016
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

inactive() { unit_is "$1" inactive; }
active() { unit_is "$1" active; }
mode_is() { [ "$(guest stat -c '%a %U' "$1")" = "$2" ]; }
starts() { guest journalctl -q -o cat -u prepare-env --grep '^environment: ' | wc -l; }
failed_flag_names() { [ "$(guest head -n 1 /run/appliance-failed)" = "$1" ]; }
# a look at what does not happen: no further start within some seconds
stays_failed() {
  local before
  before=$(starts)
  guest systemctl start appliance.service
  sleep 7
  [ "$(starts)" = "$before" ] && has /run/appliance-failed && no_containers
}
# failed_as UNIT PATTERN WHAT: all that is to be seen of a failure
failed_as() {
  check "$3: /run/appliance-failed names $1" failed_flag_names "$1"
  check "$3: the page answers 503" status_is 503
  check "$3: the page says why" page_says "$2"
  check "$3: the page says what to do" page_says 'appliance-start'
  check "$3: the containers are not started" no_containers
  check "$3: nothing starts again" stays_failed
  check "$3: it is tagged" guest grep -q " $1: " /app/etc/tags/last_failed_appliance
}
start_fails() { ! guest appliance-start; }
started_after() { # LATER EARLIER
  local later earlier
  later=$(guest systemctl show -p "${3:-InactiveExitTimestampMonotonic}" --value "$1")
  earlier=$(guest systemctl show -p ActiveEnterTimestampMonotonic --value "$2")
  [ "$earlier" -gt 0 ] && [ "$later" -ge "$earlier" ]
}

complete_machine
stand_in "${all_images[@]}"
keep_environment
guest sh -c 'rm -f /app/etc/hooks/*/test-*.sh'
environment '{}'
# what quoting could get wrong
put <(printf '%s\n' '    WORDS = "it'"'"'s \"5 $HOME\" $(id) `id` \\ #"') /run/line 0600
guest sh -c 'sed -i "/^    DEBUG = /r /run/line" /app/env.yml; rm /run/line'

echo '# a start'
# one dangling image, which the cleanup is to remove
guest sh -c 'tar -C /etc -c hostname | docker import - dangling >/dev/null; tar -C /etc -c hosts | docker import - dangling >/dev/null'
for hook in prepare-appliance.early prepare-appliance.late prepare-ecs.early prepare-ecs.late; do
  guest sh -c 'echo "echo $1 >>/run/hooks.log" >"/app/etc/hooks/$1/test-10.sh"' sh "$hook"
done
guest rm -f /run/hooks.log
check 'appliance-start brings it up' guest appliance-start
check 'https through nginx reaches the application' runs
for unit in prepare-env prepare-appliance prepare-ecs appliance; do check "$unit is active" active "$unit"; done
check 'prepare-appliance comes after prepare-env' started_after prepare-appliance prepare-env
check 'prepare-ecs comes after prepare-appliance' started_after prepare-ecs prepare-appliance
check 'the containers come after prepare-ecs' started_after appliance prepare-ecs
wait_for 30 'the cleanup comes after the containers' started_after appliance-cleanup appliance
no_dangling() { [ -z "$(guest docker image ls -q --filter dangling=true)" ]; }
wait_for 20 'the cleanup has removed an image without a name' no_dangling
guest docker image rm dangling >/dev/null
hooks_in_order() { [ "$(guest cat /run/hooks.log | tr '\n' ' ')" = 'prepare-appliance.early prepare-appliance.late prepare-ecs.early prepare-ecs.late ' ]; }
check 'each hook has run once, in order' hooks_in_order
for file in /run/active-env.yml /app/etc/service_urls.env /run/appliance/ecs.env; do check "$file is for root alone" mode_is "$file" '600 root'; done
tag_is() { [ "$(guest cat "/app/etc/tags/$1")" = "$2" ]; }
check 'the image that runs is tagged' tag_is last_running_ecs_image "$(guest docker image inspect --format '{{.Id}}' ecs)"
check 'the state tree is tagged' guest test -s /app/etc/tags/last_running_appliance
settings=$(guest docker exec appliance-ecs.web-1 sh -c 'printf "%s" "$ECS_SETTINGS"')
settings_are() { [ "$settings" = "$(guest python3 -c 'import yaml; print(yaml.safe_load(open("/run/active-env.yml"))["ecs"]["settings"].strip(), end="")')" ]; }
check 'ECS_SETTINGS reaches a container as it was written' settings_are
for container in pdfas mocca; do
  check "$container has the domain as HOSTNAME" guest docker exec "appliance-$container-1" sh -c '[ "$HOSTNAME" = ecs.example.org ]'
done
check 'a container finds redis by its link' guest docker exec appliance-ecs.web-1 cat /etc/hosts
only_bridge() { [ "$(guest docker network ls -q | wc -l)" = 3 ]; }
check 'there is no network but the default bridge' only_bridge
public_ports() { ! guest docker ps --format '{{.Ports}}' | grep -E '(0\.0\.0\.0|:::)'; }
check 'containers publish on loopback alone' public_ports
bound() {
  local found
  found=$(guest sh -c 'docker inspect -f "{{.HostConfig.Memory}} {{.HostConfig.SecurityOpt}} {{.HostConfig.RestartPolicy.Name}}" $(docker ps -q)')
  [ -n "$found" ] && ! grep -vE '^[1-9][0-9]+ \[no-new-privileges:true\] on-failure$' <<<"$found"
}
check 'each container has a limit of memory, no new privileges, a restart policy' bound
secret_hidden() {
  local secret
  secret=$(guest sed -n "s/^    SECRET_KEY = '\(.*\)'/\1/p" /app/env.yml)
  # arguments of this look are no secret's place either: it is handed over by standard input
  [ -n "$secret" ] && ! guest sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" "\n" | grep -aFf /dev/fd/3 3<&0' <<<"$secret"
}
check 'no process has a secret of the settings among its arguments' secret_hidden

echo '# a part that ends'
restarts() { guest systemctl show -p NRestarts --value appliance; }
guest docker kill appliance-ecs.beat-1 >/dev/null
one_restart() { [ "$(restarts)" -ge 1 ] && active appliance && runs; }
wait_for 90 'a container that was killed brings a restart of all' one_restart
check 'which is no failure' has_not /run/appliance-failed
if [ "$(guest docker info --format '{{.LiveRestoreEnabled}}')" = true ]; then
  web() { guest docker inspect -f '{{.State.StartedAt}}' appliance-ecs.web-1; }
  since=$(web)
  guest systemctl restart docker
  sleep 12
  goes_on() { [ "$(web)" = "$since" ] && active appliance && runs; }
  check 'a restart of dockerd leaves the containers and the unit alone' goes_on
else
  echo 'skip  a restart of dockerd: live-restore is off here'
fi

echo '# a hook that fails'
guest sh -c 'echo "exit 3" >/app/etc/hooks/prepare-ecs.early/test-20-bad.sh'
check 'appliance-start tells that it failed' start_fails
failed_as prepare-ecs 'hook prepare-ecs.early/test-20-bad.sh failed' 'failing hook'
guest sh -c 'rm -f /app/etc/hooks/*/test-*.sh'
check 'failing hook: appliance-start brings it up again' guest appliance-start
check 'failing hook: and the application answers' runs

echo '# a broken environment'
guest sh -c 'cp -p /app/env.yml /run/good.yml; printf "#cloud-config\nappliance: [unclosed\n" >/app/env.yml'
check 'appliance-start tells that it failed' start_fails
failed_as prepare-env 'env.yml' 'broken environment'
check 'broken environment: nothing was set up with it' inactive prepare-appliance
guest cp -p /run/good.yml /app/env.yml
check 'broken environment: appliance-start brings it up again' guest appliance-start

echo '# no environment'
guest sh -c 'systemctl stop appliance; rm -f /app/env.yml /run/active-env.yml /run/appliance/ecs.env'
check 'appliance-start tells that it failed' start_fails
failed_as prepare-env 'there is no environment' 'no environment'
check 'no environment: nothing was set up' inactive prepare-appliance
check 'no environment: nothing is in force' has_not /run/active-env.yml
check 'no environment: nor handed to containers' has_not /run/appliance/ecs.env
guest cp -p /run/good.yml /app/env.yml
check 'no environment: appliance-start brings it up again' guest appliance-start

echo '# a full /data'
guest sh -c 'mkdir -p /run/small && mount -t tmpfs -o size=150m small /run/small && cp -a /data/etc /data/ecs-* /run/small && mount --bind /run/small /data && head -c 120M /dev/zero >/data/fill'
check 'appliance-start tells that it failed' start_fails
failed_as prepare-appliance '/data is full: [0-9]+ MiB are free' 'full /data'
guest rm /data/fill
check 'full /data: appliance-start brings it up again' guest appliance-start
guest sh -c 'systemctl stop appliance; umount /data && umount /run/small'
check 'it starts from its own /data' guest appliance-start

echo '# containers that cannot start'
guest docker tag redis redis-kept
guest sh -c 'systemctl stop appliance; docker image rm redis >/dev/null'
before=$(starts)
check 'appliance-start tells that it failed' start_fails
tries=$(($(starts) - before))
limited() { [ $tries -ge 2 ] && [ $tries -le 5 ]; }
check "it was tried some times and no more ($tries)" limited
failed_as appliance 'unit appliance failed' 'missing image'
guest docker tag redis-kept redis
check 'missing image: appliance-start brings it up again' guest appliance-start

echo '# no application'
guest sh -c 'systemctl stop appliance; docker tag ecs ecs-kept; docker image rm ecs >/dev/null'
check 'appliance-start tells that it failed' start_fails
failed_as prepare-ecs 'No application is installed' 'no application'
guest sh -c 'docker tag ecs-kept ecs; docker image rm ecs-kept redis-kept >/dev/null'
check 'no application: appliance-start brings it up again' guest appliance-start

echo '# standby, and a power cut'
guest sed -i 's/^  standby: false/  standby: true/' /app/env.yml
# dockerd would start again what ran when the power went
cut_power
wait_for 120 'it is on standby' has /run/appliance-standby
wait_for 60 'standby: the page says so' page_says 'on standby'
check 'standby: 503' status_is 503
check 'standby: no container runs' no_containers
check 'standby: it is no failure' has_not /run/appliance-failed
for unit in prepare-appliance prepare-ecs appliance; do check "standby: $unit is not started" inactive "$unit"; done
check 'standby: prepare-env is done' active prepare-env
guest systemctl start appliance
check 'standby: nobody starts it by hand' inactive appliance
guest sed -i 's/^  standby: true/  standby: false/' /app/env.yml
check 'standby: appliance-start ends it' guest appliance-start
check 'standby: and the application answers' runs

echo '# reboots'
reboot_guest
wait_for 180 'after a reboot the application answers' runs
cut_power
wait_for 180 'after a power cut the application answers' runs
check 'the containers came after prepare-ecs' started_after appliance prepare-ecs
# containers' times and the boot's are both the machine's clock
fresh() { [ "$(date -d "$(guest docker inspect -f '{{.Created}}' appliance-ecs.web-1)" +%s)" -ge "$(date -d "$(guest uptime -s)" +%s)" ]; }
check 'and were made in this boot' fresh

environment_back
no_images
finish_checks
