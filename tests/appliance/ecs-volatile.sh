#!/usr/bin/env bash
# /volatile is lost, wiped or an empty disk in its place, and there is no network: the appliance comes up all green, with the rows
# it had. What cannot be loaded is told.
# shellcheck disable=SC2016
# label: soak
# needs: application
# timeout: 5400
# cores: 2
machine_state=ecs
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$here/stand-in.inc"
# shellcheck source=ecs.inc
. "$here/ecs.inc"
archive=/usr/local/share/appliance/images/images.tar.zst
guest test -s $archive || skip 'this machine brings no archive of its images'
leave() {
  guest sh -c '[ ! -e "$1.kept" ] || mv "$1.kept" "$1"' sh $archive
  leave_ecs
}
at_end=leave

ids() { guest sh -c 'while read -r name id; do [ "$(docker image inspect -f "{{.Id}}" $id)" = $id ] || echo "$name is missing"; done </usr/local/share/appliance/images/images.list'; }
all_there() { [ -z "$(ids)" ]; }
wipe() { guest sh -c 'systemctl stop appliance docker.socket docker containerd; find /volatile -mindepth 1 -delete; test -z "$(ls -A /volatile)"; sync'; }

start_ecs
check 'the images are those of the list' all_there
client keeper
act do/job >"$work/acted"
have_row() { [ "$(sql "select count(*) from core_job where state = 'done'")" -ge 1 ]; }
wait_for 60 'it has a row to lose' have_row
made=$(sql 'select min(queued) from core_job')
kept() { [ "$(sql 'select min(queued) from core_job')" = "$made" ]; }

echo '# wiped, and a reboot'
check 'wiped' wipe
reboot_guest
green_within 400 'all is green'
check 'with its rows' kept
check 'the images are those of the list' all_there
check 'the client certificate holds' front_says "$serial" certificate "${as[@]}"

echo '# cleaned up: what the appliance brings stays, though another application runs'
guest docker tag redis ecs
guest systemctl start appliance-cleanup
check 'the images are those of the list' all_there
guest docker tag ecs:embedded ecs

echo '# a damaged archive'
check 'wiped' wipe
guest sh -c 'cp "$1" "$1.kept"; truncate -s -100000 "$1"; systemctl start docker' sh $archive
start_fails() { ! guest appliance-start; }
check 'the start fails' start_fails
check 'and the page says why' page_says 'archive of the appliance.{1,10}s images cannot be loaded'
guest rm $archive
check 'without it the start fails too' start_fails
check 'and the page says why' page_says 'brings no archive'
guest mv $archive.kept $archive
check 'mended, it starts' guest appliance-start
green_within 240 'all is green'

if declare -F add_disk >/dev/null; then
  echo '# an empty disk'
  add_disk 6G ecs-volatile
  reboot_guest
  check 'it is /volatile' guest sh -c 'findmnt -no LABEL /volatile | grep -x ecs-volatile'
  green_within 600 'all is green'
  check 'with its rows' kept
  check 'the images are those of the list' all_there
fi

finish_checks
