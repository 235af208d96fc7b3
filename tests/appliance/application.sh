#!/usr/bin/env bash
# The application from git, by prepare-ecs: built from a repository on the machine, migrated from a dump; when the build fails the last
# image goes on, when the migration fails or the power goes in its middle, database and image come back together.
# shellcheck disable=SC2016
# label: soak
# timeout: 3600
# cores: 2
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

place=/var/tmp/application-test
migrate=/volatile/ecs-cache/migrate
tag_is() { [ "$(tag_of "$1")" = "$2" ]; }
says() { [ "$(page)" = "$1" ]; }
rows() { sql 'select count(*) from application_test'; }
rows_are() { [ "$(rows)" = "$1" ]; }
# commit_application TEXT [DOCKERFILE-LINE]: prints its commit
commit_application() {
  guest sh -c 'cd "$1"; echo "$2" >index.html; printf "FROM stand-in\nCOPY index.html /www/index.html\n%s\n" "$3" >Dockerfile; git add -A; git -c user.name=test -c user.email=test@example.org commit -qm "$2"; git rev-parse HEAD' sh $place/repository "$1" "${2-}"
}

complete_machine
stand_in stand-in redis memcached pdfas mocca
keep_environment
guest sh -c 'rm -rf "$1" /app/ecs; mkdir -p "$1/repository"; git init -qb main "$1/repository"; rm -f "$2" /app/etc/tags/last_*_ecs /app/etc/tags/last_failed_ecs; docker image rm ecs ecs:last 2>/dev/null' sh $place $migrate || true
environment "{ecs: {git: {source: 'file://$place/repository'}}}"
sql 'drop table if exists application_test; create table application_test (id int); insert into application_test values (1), (2)'

one=$(commit_application one)
check 'it is built and started' guest appliance-start
check 'and answers' says one
for tag in last_build_ecs last_migration_ecs last_running_ecs; do check "$tag is its commit" tag_is $tag "$one"; done
check 'a dump was made before the migration' has /data/ecs-pgdump/before-migration.pgdump
built() { guest docker image inspect -f '{{.Id}} {{.Created}}' ecs; }
before=$(built)
check 'a start without news' guest appliance-start
not_built() { [ "$(built)" = "$before" ]; }
check 'builds nothing' not_built

echo '# a build that fails'
two=$(commit_application two 'COPY missing /missing')
check 'the appliance starts' guest appliance-start
check 'with the last image' says one
check 'the commit is tagged as failed' tag_is last_failed_ecs "$two"

echo '# a migration that fails'
three=$(commit_application three)
echo 'sleep 8; exit 1' | guest sh -c 'cat >"$1"' sh $migrate
(
  sleep 1
  until guest test -e /data/ecs-pgdump/migration-running; do sleep 0.5; done
  sql 'insert into application_test values (3); alter table application_test add half text'
) &
check 'the appliance starts' guest appliance-start
wait
check 'with the last image' says one
check 'and the rows from before' rows_are 2
unchanged() { [ "$(sql "select count(*) from information_schema.columns where table_name = 'application_test'")" = 1 ]; }
check 'and the tables from before' unchanged
check 'the commit is tagged as failed' tag_is last_failed_ecs "$three"
check 'and not tried again' guest appliance-start
check 'but by force' guest sh -c 'rm "$1"; touch /app/etc/flags/force.update.ecs; appliance-start' sh $migrate
check 'it runs' says three
check 'the flag is gone' has_not /app/etc/flags/force.update.ecs
check 'no failure is tagged any more' has_not /app/etc/tags/last_failed_ecs

echo '# a power cut in a migration'
four=$(commit_application four)
echo 'sleep 600' | guest sh -c 'cat >"$1"' sh $migrate
guest systemctl restart --no-block appliance
wait_for 120 'the migration runs' guest test -e /data/ecs-pgdump/migration-running
sql 'insert into application_test values (4)'
guest sync
cut_power
wait_for 180 'the appliance comes up with the last image' says three
check 'and the rows from before' rows_are 2
check 'the commit is tagged as failed' tag_is last_failed_ecs "$four"

echo '# a pinned commit'
guest sh -c 'rm -f "$1"; sed -i "s/^  git:/&\n    commitid: $2/" /app/env.yml' sh $migrate "$one"
check 'the appliance starts' guest appliance-start
check 'with that commit' says one

sql 'drop table application_test'
environment_back
guest sh -c 'docker image ls --format "{{.Repository}}:{{.Tag}}" ecs | grep -vx ecs:embedded | xargs docker image rm >/dev/null; docker image rm stand-in >/dev/null; rm -rf "$1" /app/ecs /data/ecs-pgdump/before-migration.pgdump' sh $place
no_images
finish_checks
