#!/usr/bin/env bash
# The application from a git repository on the machine, in place of the one the appliance brings: a newer commit is built without
# a network, migrates and comes up behind a 503; a commit whose build, migration or start fails leaves the rows and the
# application of before, and says so; and back to the one the appliance brings.
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
place=/var/tmp/ecs-update-test
leave() {
  mirrors_back
  leave_ecs
  guest sh -c 'docker image ls --format "{{.Repository}}:{{.Tag}}" ecs | grep -vx -e ecs:embedded -e ecs:latest | xargs -r docker image rm; rm -rf "$1" /app/ecs /app/etc/tags/last_*_ecs /data/ecs-pgdump/before-migration.pgdump' sh $place
}
at_end=leave

tag_is() { [ "$(tag_of "$1")" = "$2" ]; }
runs_commit() { [ "$(guest docker inspect -f '{{index .Config.Labels "ecs.commit"}}' "$(container ecs.web)")" = "$1" ] && green; }
# commit TEXT: of what lies in the repository; its name
commit() { guest sh -c 'cd "$1"; git add -A; git -c user.name=test -c user.email=test@example.org commit -qm "$2"; git rev-parse HEAD' sh $place/repository "$1"; }
write() { guest sh -c 'cat >"$1/repository/$2"' sh $place "$1"; }
back_to() { guest git -C $place/repository reset -q --hard "$1"; }
update() { guest systemctl start appliance-update; }
rows() { sql 'select count(*), coalesce(sum(length(text)), 0) from core_job'; }
unchanged() { [ "$(rows)" = "$rows" ]; }
embedded() { guest sed -n 's/^ecs:latest //p' /usr/local/share/appliance/images/images.list; }
# watched COMMAND...: what browsers got meanwhile, in $work/codes
watched() {
  : >"$work/codes"
  (while [ ! -e "$work/enough" ]; do front_code '' --max-time $((20 * slower)) >>"$work/codes" 2>/dev/null; echo >>"$work/codes"; sleep 0.5; done) &
  "$@"
  local status=$?
  touch "$work/enough"
  wait $!
  rm "$work/enough"
  return $status
}
# failed COMMIT WHAT: the running one goes on, and says so
failed() {
  green_within 240 "$2: all is green"
  check "$2: by the one before" runs_commit "$running"
  check "$2: with its rows" unchanged
  check "$2: it is tagged" tag_is last_failed_ecs "$1"
  check "$2: its own page tells it" front_says 'the one before goes on' '' "${as[@]}"
  check "$2: the other page would" guest grep -qi 'the one before goes on' /run/appliance/503.html
  check "$2: no migration is left half done" has_not /data/ecs-pgdump/migration-running
}

guest rm -rf $place /app/ecs
tar -C "$here/../../overlays/ecs/demo-ecs" --exclude=__pycache__ -cf "$work/demo.tar" .
put "$work/demo.tar" /run/demo.tar 0600
guest sh -c 'mkdir -p "$1/repository"; cd "$1/repository"; tar -xf /run/demo.tar --no-same-owner; rm /run/demo.tar; git init -qb main' sh $place
start_ecs
check 'the one that the appliance brings runs' tag_is last_running_ecs "$(embedded)"
client committee
act do/job >"$work/acted"
have_row() { [ "$(sql "select count(*) from core_job where state = 'done'")" -ge 1 ]; }
wait_for 60 'it has a row to lose' have_row
rows=$(rows)

echo '# from git'
one=$(commit one)
# no authority is asked either
no_mirrors
environment "{appliance: {ssl: {letsencrypt: {enabled: false}}}, ecs: {git: {source: 'file://$place/repository'}}}"
check 'the appliance starts' guest appliance-start
green_within 240 'all is green'
check 'it is the commit' runs_commit "$one"
check 'with the rows of before' unchanged

echo '# a newer commit, by the update'
write core/migrations/9000_test.py <<PYTHON
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [('core', '$(guest sh -c 'ls "$1/repository/core/migrations"' sh $place | sed -n 's/^\(0[0-9]*_.*\)\.py$/\1/p' | tail -n 1)')]
    operations = [migrations.RunSQL('alter table core_job add extra integer not null default 7')]
PYTHON
two=$(commit two)
check 'the update succeeds' watched update
green_within 240 'all is green'
check 'it is the commit' runs_commit "$two"
check 'it was migrated' test "$(sql 'select min(extra) from core_job')" = 7
codes() { sort "$work/codes" | uniq -c; grep -qx 503 "$work/codes" && grep -qx 200 "$work/codes" && ! grep -vxE '200|503' "$work/codes"; }
check 'meanwhile browsers got the page of a 503, and nothing else' codes
running=$two

echo '# a build that fails'
write Dockerfile <<<$'FROM ecs-base\nRUN false'
bad=$(commit build)
not_well() { ! update; }
check 'build: the update does not call it well' not_well
check 'build: and tells which part' guest grep -q 'failed:.* ecs' /app/etc/tags/last_failed_update
failed "$bad" 'build'

echo '# a migration that drops a column and fails then'
back_to "$two"
write core/migrations/9001_test.py <<'PYTHON'
from django.db import migrations
def fail(apps, schema_editor):
    raise RuntimeError('a migration of the test')
class Migration(migrations.Migration):
    atomic = False
    dependencies = [('core', '9000_test')]
    operations = [migrations.RunSQL('alter table core_job drop column text; delete from core_job'), migrations.RunPython(fail)]
PYTHON
bad=$(commit migration)
guest appliance-start || true
failed "$bad" 'migration'

echo '# an application that does not start'
back_to "$two"
write ecs/wsgi.py <<<'raise RuntimeError("an application of the test")'
write core/migrations/9001_test.py <<'PYTHON'
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [('core', '9000_test')]
    operations = [migrations.RunSQL('delete from core_job')]
PYTHON
bad=$(commit start)
guest appliance-start || true
failed "$bad" 'start'

echo '# one whose worker does not'
back_to "$two"
guest sed -i 's/^  worker)$/  worker) sleep 5; exit 1/' $place/repository/run
bad=$(commit worker)
guest appliance-start || true
failed "$bad" 'worker'

echo '# and back'
back_to "$two"
check 'the appliance starts' guest appliance-start
check 'nothing failed any more' has_not /app/etc/tags/last_failed_ecs
silent() { ! guest grep -qi 'the one before goes on' /run/appliance/503.html && ! front_says 'the one before goes on' '' "${as[@]}"; }
check 'and nothing is told' silent
images() { guest docker image ls --format '{{.Tag}}' ecs | grep -cE '^[0-9a-f]{40}$'; }
few() { [ "$(images)" -le 2 ]; }
wait_for 60 'no more than two builds are kept' few
no_dangling() { [ -z "$(guest docker image ls -q --filter dangling=true)" ]; }
wait_for 60 'and nothing without a name' no_dangling
environment '{}'
check 'without a repository the appliance starts' guest appliance-start
green_within 240 'all is green'
check 'by the one that the appliance brings' tag_is last_running_ecs "$(embedded)"
rows_kept() { [ "$(sql 'select count(*) from core_job')" = "${rows%%|*}" ]; }
check 'with the rows' rows_kept

finish_checks
