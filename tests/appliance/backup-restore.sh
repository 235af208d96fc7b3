#!/usr/bin/env bash
# Backup, wipe, restore: the same rows and files with the same owners, by one command, on an appliance that has nothing but its
# environment and has another password of the database. What leaves the machine is encrypted; a failing backup is told.
# shellcheck disable=SC2016
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

target=/var/tmp/backup-test
backup() { guest systemctl start appliance-backup; }
backup_fails() { ! backup; }
rows() { sql "select count(*), sum(length(text)), md5(string_agg(id || text, ',' order by id)) from documents"; }
# names, modes, owners and content of what is kept
files() {
  guest sh -c 'cd /data && for file in $(find ecs-ca ecs-gpg ecs-storage-vault etc/hooks etc/pdfas etc/tags/last_migration_ecs | sort); do stat -c "%n %A %u %g" $file; [ ! -f $file ] || sha256sum $file; done'
}
tag_has() { guest grep -q -- "$2" "/app/etc/tags/$1"; }
owner_is() { [ "$(guest stat -c '%U %a' "$1")" = "$2" ]; }

complete_machine
stand_in "${all_images[@]}"
keep_environment
guest sh -c 'rm -rf "$1" /volatile/ecs-backup-work; mkdir "$1"; cp -a /data/etc "$1/etc.kept"' sh $target
environment "{appliance: {backup: {url: 'file://$target/there', options: '--volsize 5 --timeout \"60\"'}}}"
guest mkdir $target/there
guest cp -p /app/env.yml $target/env.yml

echo '# something to lose'
sql "drop table if exists documents; create table documents (id serial primary key, text text); alter table documents owner to app; insert into documents (text) select md5(i::text) || 'Größe' from generate_series(1, 5000) i"
guest sh -c '
  set -eu; cd /data
  install -d -o app -g app ecs-storage-vault/ab; head -c 300000 /dev/urandom >ecs-storage-vault/ab/1; echo "two words" >ecs-storage-vault/ab/2; chown -R app:app ecs-storage-vault; chmod 600 ecs-storage-vault/ab/2
  echo ca >ecs-ca/ca.cert.pem; echo gpg >ecs-gpg/pubring.gpg; chown app:app ecs-ca/ca.cert.pem ecs-gpg/pubring.gpg; chmod 600 ecs-gpg/pubring.gpg
  install -d -m 0700 etc/pdfas; echo key >etc/pdfas/key.pem; chmod 600 etc/pdfas/key.pem; echo abc >etc/tags/last_migration_ecs
  echo "echo mine" >etc/hooks/prepare-ecs.late/test-mine.sh
'
guest appliance-start >/dev/null
check 'the first backup succeeds' backup
check 'it is tagged' has /app/etc/tags/last_backup
check 'it was read back' guest journalctl -q -u appliance-backup --grep 'read back: the dump is the same'
sql "insert into documents (text) values ('since the first backup')"
guest sh -c 'echo three >/data/ecs-storage-vault/ab/3; chown app:app /data/ecs-storage-vault/ab/3; rm /data/ecs-storage-vault/ab/2'
check 'the second backup succeeds' backup
count_is() { [ "$(guest sh -c "ls $target/there | grep -c '$1'")" = "$2" ]; }
check 'the first was a full one' count_is '^duplicity-full\..*\.manifest' 1
check 'the second holds what has changed' count_is '^duplicity-inc\..*\.manifest' 1
expected_rows=$(rows) expected_files=$(files)

echo '# what left the machine'
encrypted() {
  [ "$(guest sh -c "ls $target/there | grep -vc '\.gpg$'")" = 0 ] && guest sh -c "cd $target/there && for file in *; do gpg --list-packets --batch --list-only \$file 2>/dev/null | grep -q 'pubkey enc packet' || exit 1; done"
}
check 'every file is encrypted to a key' encrypted
check 'no key stays in root'"'"'s own keyring' guest sh -c '! gpg --batch --list-secret-keys 2>/dev/null | grep -q .'
check 'no keyring stays behind' guest sh -c '! ls -d /run/appliance/keyring.*'
check 'the timer has 00:30' guest sh -c 'systemctl show -p NextElapseUSecRealtime --value appliance-backup.timer | grep " 00:30:00 "'

echo '# backups that fail'
guest sh -c 'mkdir $1/key; sed "/^    encrypt: |/,/END PGP/d" /app/env.yml >$1/key/env.yml; cp $1/key/env.yml /run/active-env.yml' sh $target
check 'without a key the backup fails' backup_fails
check 'which is tagged with the reason' tag_has last_failed_backup 'nothing is backed up in clear'
check 'and is no failure of the appliance' has_not /run/appliance-failed
guest sh -c 'cp $1/env.yml /run/active-env.yml; chmod 600 /run/active-env.yml; mv $1/there $1/away; touch $1/there' sh $target
check 'without its target the backup fails' backup_fails
check 'which is tagged' tag_has last_failed_backup 'duplicity could not write'
guest sh -c 'rm $1/there; mv $1/away $1/there' sh $target
check 'a restore does not replace what is there unasked' guest sh -c '! appliance-restore.sh'
[ "$(rows)" = "$expected_rows" ] || fail 'it did'
check 'and the next backup succeeds' backup
check 'which takes the tag of failure away' has_not /app/etc/tags/last_failed_backup

echo '# wipe'
guest sh -c '
  set -eu; cd /
  systemctl stop appliance
  rm -rf /volatile/ecs-backup-work /data/ecs-storage-vault/* /data/ecs-ca/* /data/ecs-gpg/* /data/ecs-pgdump /data/etc/hooks/prepare-ecs.late/test-mine.sh /data/etc/pdfas /data/etc/tags/last_* /root/.gnupg /root/.cache/duplicity
  runuser -u postgres -- dropdb ecs
  if [ -e /app/etc/database.password ]; then
    rm -f /app/etc/database.password /app/etc/database_url.env
  else
    runuser -u postgres -- createdb --owner=app ecs
    echo DATABASE_URL=postgres://app:another@172.17.0.1/ecs >/app/etc/database_url.env
  fi
  rm -f /run/active-env.yml; cp -p $1/env.yml /app/env.yml
' sh $target
guest sha256sum /app/etc/database_url.env >"$work/url" 2>/dev/null || true
check 'one command restores' guest appliance-restore.sh
rows_same() { [ "$(rows)" = "$expected_rows" ]; }
check 'the rows are the same' rows_same
files_same() { diff <(echo "$expected_files") <(files); }
check 'files, modes and owners are the same' files_same
check 'the table belongs to app' guest sh -c "cd /; runuser -u postgres -- psql -Atc \"select tableowner from pg_tables where tablename = 'documents'\" ecs | grep -qx app"
check 'the database belongs to app' guest sh -c "cd /; runuser -u postgres -- psql -Atc \"select pg_get_userbyid(datdba) from pg_database where datname = 'ecs'\" | grep -qx app"
password_own() { [ ! -s "$work/url" ] || guest sha256sum -c --quiet <"$work/url"; }
check 'the password of the database is the machine'"'"'s own' password_own
check 'the appliance runs' runs
check 'nothing of the restore stays' guest sh -c '! ls -d /data/.restore /run/appliance/keyring.* 2>/dev/null'

echo '# without an address'
guest sh -c 'sed -i "/^    url: /d" /app/env.yml; rm -rf /volatile/ecs-backup-test /volatile/ecs-backup-work; appliance-start >/dev/null'
check 'the backup succeeds' backup
check 'and lies in /volatile/ecs-backup-test' guest sh -c 'ls /volatile/ecs-backup-test | grep -q "^duplicity-full"'
check 'which is for root alone' owner_is /volatile/ecs-backup-test 'root 700'
sql "insert into documents (text) values ('after the backup')"
check 'what is there is replaced when that is asked for' guest appliance-restore.sh --replace
check 'the rows are those of the backup' rows_same

echo '# to another machine, which is this one'
guest sh -c '
  set -eu
  ssh-keygen -q -t ed25519 -N "" -f $1/sftp-key && cat $1/sftp-key.pub >>/root/.ssh/authorized_keys2
  ssh-keyscan 127.0.0.1 >>/root/.ssh/known_hosts 2>/dev/null
  mkdir $1/by-sftp
  sed -i "s,^  backup:,  backup:\n    url: sftp://root@127.0.0.1/$1/by-sftp\n    options: --ssh-options=\"-oIdentityFile=$1/sftp-key\"," /app/env.yml
  sed -i "/^    options: .*volsize/d" /app/env.yml
  appliance-start >/dev/null' sh $target
check 'the backup succeeds' backup
check 'and lies there' guest sh -c 'ls $1/by-sftp | grep -q "^duplicity-full"' sh $target
sql "insert into documents (text) values ('after that backup')"
check 'it comes back' guest appliance-restore.sh --replace
check 'the rows are those of the backup' rows_same
guest rm -f /root/.ssh/known_hosts

echo '# as it was'
sql 'drop table documents'
guest sh -c 'rm -rf /data/ecs-storage-vault/ab /data/ecs-ca/ca.cert.pem /data/ecs-gpg/pubring.gpg /volatile/ecs-backup-test /volatile/ecs-backup-work /data/ecs-pgdump/ecs.pgdump /data/etc/pdfas /data/etc/hooks/prepare-ecs.late/test-mine.sh; cp -a $1/etc.kept/. /data/etc/; rm -rf $1' sh $target
environment_back
no_images
finish_checks
