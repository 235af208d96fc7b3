#!/usr/bin/env bash
# The update of the appliance, from a git repository on the machine: a changed state tree is applied and the appliance restarted; a
# failing highstate, a tree that is none and a power cut in the middle leave the old one; while failed or on standby nothing is
# restarted; flags force a part; the timer follows the environment.
# shellcheck disable=SC2016
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

place=/var/tmp/update-test # a power cut leaves it
update() { guest systemctl start appliance-update; }
update_fails() { ! update; }
marker_is() { [ "$(guest cat $place/marker)" = "$1" ]; }
web() { guest docker inspect -f '{{.State.StartedAt}}' appliance-ecs.web-1; }
head_is() { [ "$(guest git -C $place/repository rev-parse HEAD)" = "$1" ]; }
tree_is() { [ "$(guest cat /app/appliance/.commit)" = "$1" ]; }
tag_has() { guest grep -q -- "$2" "/app/etc/tags/$1"; }
no_tag() { has_not "/app/etc/tags/$1"; }
restarted() { [ "$(web)" != "$before" ] && runs; }
left_alone() { [ "$(web)" = "$before" ] && unit_is appliance active && runs; }
# commit_tree MARKER [STATE]: a state tree that writes MARKER, and has STATE beside; prints its commit
commit_tree() {
  printf '%s\n' "$place/marker:" '  file.managed:' "    - contents: $1" "${2-}" |
    guest sh -c 'cat >"$1/repository/overlays/ecs/salt/update_test.sls"; git -C "$1/repository" add -A; git -C "$1/repository" -c user.name=test -c user.email=test@example.org commit -qm "$2"; git -C "$1/repository" rev-parse HEAD' sh $place "$1"
}

if guest mountpoint -q /app/appliance; then
  echo 'skip: the state tree is mounted here, for development, and cannot change places with another'
  exit 125
fi
complete_machine
stand_in "${all_images[@]}"
keep_environment
guest sh -c '
  set -eu
  rm -rf "$1" /var/lib/appliance/appliance.git /app/.appliance.other; mkdir -p "$1/repository/overlays/ecs"
  cp -a /app/appliance "$1/tree"
  cp -a /app/appliance/salt /app/appliance/pillar "$1/repository/overlays/ecs/"
  rm -f /app/appliance/.commit
  cd "$1/repository"; git init -qb main; printf "    - update_test\n" >>overlays/ecs/salt/top.sls
' sh $place
no_mirrors
environment "{appliance: {git: {source: 'file://$place/repository'}}}"
commit_tree one >/dev/null
guest appliance-start >/dev/null

echo '# a changed state tree'
one=$(guest git -C $place/repository rev-parse HEAD)
before=$(web)
check 'the update succeeds' update
check 'the state tree is that of the repository' tree_is "$one"
check 'it was applied' marker_is one
check 'the appliance was restarted' restarted
check 'the update is tagged' tag_has last_update "$one"
check 'no failure is tagged' no_tag last_failed_update
check 'the tree that runs is tagged' tag_has last_running_appliance "$one"
before=$(web)
check 'an update without news succeeds' update
check 'and restarts the appliance too' restarted

echo '# a failing highstate'
before=$(web)
two=$(commit_tree two $'no:\n  test.fail_without_changes: []')
check 'the update fails' update_fails
check 'what runs is left alone' left_alone
check 'the state tree is the one before' tree_is "$one"
check 'and applied again' marker_is one
check 'the failure is tagged' tag_has last_failed_update "$one, failed: highstate"
check 'it is no failure of the appliance' has_not /run/appliance-failed

echo '# a repository that is no state tree'
guest sh -c 'cd "$1/repository"; git mv overlays/ecs/pillar overlays/ecs/gone; git rm -qf overlays/ecs/salt/update_test.sls; sed -i "/update_test/d" overlays/ecs/salt/top.sls; git -c user.name=test -c user.email=test@example.org commit -qm none' sh $place
check 'the update fails' update_fails
check 'the state tree is the one before' tree_is "$one"
check 'the part is tagged' tag_has last_failed_update "failed: appliance"
guest git -C $place/repository reset -q --hard "$two"

echo '# a power cut in the middle'
three=$(commit_tree three $'long:\n  cmd.run:\n    - name: sleep 300\n    - order: last')
guest systemctl start --no-block appliance-update
wait_for 60 'the new tree is there' tree_is "$three"
wait_for 60 'and being applied' marker_is three
cut_power
wait_for 240 'the appliance comes up' runs
check 'with the tree before' tree_is "$one"
check 'which is applied' marker_is one

echo '# while failed, and on standby'
guest git -C $place/repository reset -q --hard "$one"
commit_tree four >/dev/null
guest sh -c 'mkdir -p /app/etc/hooks/prepare-appliance.early; echo "exit 1" >/app/etc/hooks/prepare-appliance.early/test-1.sh; appliance-start; rm /app/etc/hooks/prepare-appliance.early/test-1.sh' >/dev/null 2>&1 || true
check 'the appliance has failed' has /run/appliance-failed
check 'failed: the update succeeds' update
check 'failed: and is applied' marker_is four
check 'failed: nothing is restarted' no_containers
check 'failed: it stays failed' has /run/appliance-failed
check 'failed: no reboot is asked either' guest sh -c 'touch /run/reboot-required; systemctl start appliance-update; rm /run/reboot-required; systemctl is-system-running | grep -qv stopping'
guest sed -i 's/^  standby: false/  standby: true/' /app/env.yml
guest appliance-start >/dev/null
five=$(commit_tree five)
check 'standby: the update succeeds' update
check 'standby: and is applied' marker_is five
check 'standby: nothing is restarted' no_containers
check 'standby: the update is tagged' tag_has last_update "$five"

echo '# the timer'
next() { guest systemctl show -p NextElapseUSecRealtime --value appliance-update.timer; }
at() { next | grep -q " $1 "; }
check 'its hour is 06:30' at 06:30:00
check "apt's own timers are off" guest sh -c '! systemctl is-active apt-daily.timer && ! systemctl is-active apt-daily-upgrade.timer && ! systemctl is-enabled apt-daily.timer'
guest sed -i -e 's/^  standby: true/  standby: false/' -e "s/^    oncalendar: .*/    oncalendar: '*-*-* 03:21:00'/" /app/env.yml
check 'with another hour in the environment the appliance starts' guest appliance-start
check 'and the timer has it' at 03:21:00
guest sed -i 's/^    automatic: true/    automatic: false/' /app/env.yml
check 'without automatic updates the appliance starts' guest appliance-start
timer_off() { unit_is appliance-update.timer inactive && ! guest systemctl -q is-enabled appliance-update.timer; }
check 'and the timer is off' timer_off

echo '# flags'
dockerd=$(guest systemctl show -p MainPID --value docker)
guest sh -c 'for part in appliance ecs system docker postgres; do touch /app/etc/flags/force.update.$part; done'
inode() { guest stat -c %i /app/appliance; }
before=$(inode)
check 'a forced update succeeds' update
fetched_anew() { [ "$(inode)" != "$before" ] && tree_is "$five"; }
check 'appliance: the tree is fetched anew' fetched_anew
engine_restarted() { [ "$(guest systemctl show -p MainPID --value docker)" != "$dockerd" ]; }
check 'docker: the engine was restarted' engine_restarted
flags_gone() { [ -z "$(guest ls /app/etc/flags)" ]; }
check 'all flags are gone' flags_gone
wait_for 60 'the application answers' runs
second() { guest salt-call --local --out=json --retcode-passthrough state.highstate 2>/dev/null | python3 -c 'import json, sys
states = json.load(sys.stdin)["local"]
changed = [name for name, state in states.items() if state["changes"] or state["result"] is not True]
print(changed)
sys.exit(bool(changed) or len(states) < 50)'; }
check 'a highstate more, with an environment in force, changes nothing' second

echo '# as it was'
guest sh -c 'rm -rf /app/appliance /app/.appliance.other /var/lib/appliance/appliance.git; mv "$1/tree" /app/appliance; rm -rf "$1"' sh $place
mirrors_back
environment_back
no_images
guest salt-call --local --retcode-passthrough state.highstate >/dev/null
finish_checks
