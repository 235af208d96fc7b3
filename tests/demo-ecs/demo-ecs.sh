#!/usr/bin/env bash
# The application that the appliance brings, with a real PostgreSQL, redis, memcached and GnuPG; pdfas and postfix are stand-ins.
# First its parts, then the whole: every role as its container starts it, as a user who can write nothing but its folders. All of it
# is in a network and among processes of its own, so nothing is left behind.
# label: guest
# timeout: 600
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -z "${DEMO_ECS_INSIDE-}" ]; then
  place=$(mktemp -d /tmp/demo-ecs.XXXXXX)
  trap 'rm -rf "$place"' EXIT
  mkdir "$place/data" "$place/tests"
  # not the user's who writes below: the root of a container is as little
  cp -r "$here/../../overlays/ecs/demo-ecs" "$place/app"
  cp -r "$here/core" "$here/mail" "$place/tests"
  cp "$here/demo-ecs.sh" "$place/"
  chmod -R go=rX "$place"
  become=()
  if [ "$(id -u)" = 0 ]; then
    chown 65534:65534 "$place/data"
    space=(unshare --net --mount --pid --fork --kill-child --mount-proc)
    become=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  else
    chmod -R a-w "$place/app"
    space=(unshare --user --map-current-user --keep-caps --net --mount --pid --fork --kill-child --mount-proc)
  fi
  status=0
  # shellcheck disable=SC2016
  "${space[@]}" sh -c 'ip link set lo up; exec "$@"' sh "${become[@]}" \
    env -i PATH="$PATH:/usr/sbin" LANG=C.UTF-8 HOME=/nonexistent TMPDIR=/tmp DEMO_ECS_INSIDE=1 bash "$place/demo-ecs.sh" || status=$?
  chmod -R u+w "$place"
  exit $status
fi

app=$here/app data=$here/data
mkdir "$data"/{pg,redis,ca,gpg,vault,cache,web,worker,beat,smtpd}
chmod 0700 "$data"/*
bin=$(echo /usr/lib/postgresql/*/bin)
failed=0

pass() { echo "ok: $1"; }
fail() { echo "FAIL: $1"; failed=1; }
check() { # check WHAT COMMAND...
  if "${@:2}"; then pass "$1"; else fail "$1"; fi
}
within() { # within SECONDS COMMAND...: it succeeds some time
  local end=$((SECONDS + $1))
  until "${@:2}"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.3
  done
}

# ---- services

"$bin/initdb" -D "$data/pg" -U app --auth=trust --no-sync >"$data/initdb.log"
"$bin/postgres" -D "$data/pg" -h 127.0.0.1 -k "$data" -c fsync=off >"$data/pg.log" 2>&1 &
start_redis() {
  redis-server --bind 127.0.0.1 --port 6379 --dir "$data/redis" --appendonly yes --save '' --maxmemory-policy noeviction >>"$data/redis.log" &
  redis=$!
}
start_memcached() {
  memcached -l 127.0.0.1 -p 11211 -m 16 -U 0 &
  memcached=$!
}
start_redis
start_memcached

export PYTHONDONTWRITEBYTECODE=1 DJANGO_SETTINGS_MODULE=ecs.settings APPLIANCE_DOMAIN=appliance.test
export DATABASE_URL=postgres://app@127.0.0.1:5432/ecs REDIS_URL=redis://127.0.0.1:6379/0 MEMCACHED_URL=memcached://127.0.0.1:11211
export SMTP_URL=smtp://127.0.0.1:2525 PDFAS_URL=http://127.0.0.1:8080/pdf-as-web/
export CA_FOLDER=$data/ca GPG_FOLDER=$data/gpg VAULT_FOLDER=$data/vault CACHE_FOLDER=$data/cache
export ECS_RUN=$data/web
sql() { "$bin/psql" -h 127.0.0.1 -U app -d "${2-ecs}" -Atqc "$1"; }
within 30 sql 'select 1' postgres >/dev/null 2>"$data/psql.log" || { cat "$data/pg.log"; exit 1; }
sql 'create database ecs' postgres

# ---- its parts

cd "$app"
/usr/bin/python3 -W ignore manage.py test --verbosity 1 --pattern 'test_*.py' "$here/tests/core" "$here/tests/mail" || fail 'the parts'

# ---- the whole

export PDFAS_SECRET=0123456789abcdef
openssl req -x509 -newkey rsa:2048 -nodes -subj '/CN=Test signer' -keyout "$data/key" -out "$data/cert" 2>/dev/null
/usr/bin/python3 -W ignore "$here/tests/core/stand_ins.py" pdfas 8080 "$data/key" "$data/cert" &
/usr/bin/python3 "$here/tests/core/stand_ins.py" postfix 2525 &
keyring=$data/keyring
mkdir -m 0700 "$keyring"
for key in vault_encrypt vault_sign; do
  gpg --homedir "$keyring" --batch --quiet --passphrase '' --quick-generate-key $key rsa2048 sign,encr never 2>/dev/null
  gpg --homedir "$keyring" --batch --quiet --pinentry-mode loopback --passphrase '' --armor --export-secret-keys $key >"$data/gpg/$key.asc"
done

# each in a session of its own, so that it can be ended like a container
declare -A role
start() { # start ROLE [NAME=VALUE...]
  env ECS_RUN="$data/$1" "${@:2}" setsid "$app/run" "$1" >>"$data/$1.log" 2>&1 &
  role[$1]=$!
}
healthy() { ECS_RUN="$data/$1" "$app/health" 2>>"$data/health.log"; }
says() { grep -q "$2" "$data/$1.log"; }
status() { curl -s --max-time 10 "$@" http://127.0.0.1:5000/status.json; }
secret=0123456789012345678901234567890123456789012345678901234567890123
nginx=(-H "X-Appliance-Secret: $secret" -H 'X-Forwarded-Proto: https' -H 'X-Ssl-Client-Verify: SUCCESS' -H 'X-Ssl-Client-Serial: 1A2B')
red() { status "${nginx[@]}" | /usr/bin/python3 -c 'import json, sys; print(*sorted(n for n, p in json.load(sys.stdin)["parts"].items() if not p["ok"]))'; }
all_green() { [ "$(status "${nginx[@]}" | head -c 12)" = '{"all": true' ]; }
is_red() { [[ " $(red) " == *" $1 "* ]]; }
not() { ! "$@"; }

check_fails() { ! "$app/run" check >"$data/check.log" 2>&1 && grep -q 'lacks core.0001' "$data/check.log"; }
check 'check says that tables are missing' check_fails
start worker
check 'the worker waits for the tables and says so' within 30 says worker 'worker waits: the tables are not there yet'
check 'and is not healthy' not healthy worker
refused() { ! ECS_SETTINGS='SECRET_KEY = geheim' "$app/run" "$1" >"$data/refused.log" 2>&1 && grep -q 'ecs.settings of the environment cannot be used: line 1' "$data/refused.log" && ! grep -q geheim "$data/refused.log"; }
check 'a role with broken settings ends and says why' refused check
check 'web with broken settings ends too' refused web

"$app/run" migrate >"$data/migrate.log" 2>&1 &
first=$!
both_migrate() { "$app/run" migrate >"$data/migrate2.log" 2>&1 && wait $first; }
check 'two migrations at once do no harm' both_migrate
check 'check is content' "$app/run" check
broken() {
  mkdir "$data/broken"
  cp -r "$app/." "$data/broken/"
  chmod -R u+w "$data/broken"
  echo 'raise RuntimeError("of the test")' >>"$data/broken/mail/receive.py"
  ! "$data/broken/run" check >"$data/check.log" 2>&1 && grep -q 'of the test' "$data/check.log"
}
check 'and not with a receiver that cannot begin, which web would not notice' broken
started=$SECONDS
start web APPLIANCE_PROXY_SECRET=$secret
start beat
start smtpd
if within 90 all_green; then
  pass "all green, $((SECONDS - started)) s after the start"
else
  fail 'all green'
  status "${nginx[@]}" || true
  tail -n 20 "$data"/*.log
fi
for name in web worker beat smtpd; do check "$name is healthy" healthy $name; done
check 'the worker went on' says worker 'worker goes on'

# what visitors get
status >"$data/status"
check 'a visitor gets no text' not grep -q text "$data/status"
status -H 'X-Ssl-Client-Verify: SUCCESS' -H 'X-Ssl-Client-Serial: 1A2B' >"$data/status"
check 'nor who claims to have a certificate' not grep -q text "$data/status"

# act WHAT [CURL-OPTION...]: presses a button
act() {
  curl -s --max-time 60 -D "$data/head" "${nginx[@]}" http://127.0.0.1:5000/ >"$data/page"
  local token cookie
  token=$(sed -n 's/.*name="csrfmiddlewaretoken" value="\([^"]*\)".*/\1/p' "$data/page" | head -n 1)
  cookie=$(sed -n 's/^Set-Cookie: *\(csrftoken=[^;]*\).*/\1/ip' "$data/head")
  curl -s --max-time 60 -D "$data/head" "${nginx[@]}" -H "Cookie: $cookie" -H 'Host: appliance.test' -H 'Referer: https://appliance.test/' \
    -F "csrfmiddlewaretoken=$token" "${@:2}" "http://127.0.0.1:5000/$1"
}
jobs_are() { [ "$(sql "select string_agg(state, ' ' order by id) from core_job")" = "$1" ]; }
act do/job
check 'a job is done' within 15 jobs_are 'done'
act do/vault
sealed() { [ "$(find "$data/vault" -name '*.gpg' ! -name 'status-check.gpg' | wc -l)" = 1 ]; }
check 'a file is in the vault' sealed
encrypted() { GNUPGHOME=$keyring gpg --batch --list-packets "$data"/vault/status-check.gpg 2>/dev/null | grep -q 'pubkey enc packet'; }
check 'and is encrypted' encrypted
act pdf -F "pdf-file=@/dev/null" >/dev/null
printf '%%PDF-1.4\nof somebody\n' >"$data/in.pdf"
act pdf -F "pdf-file=@$data/in.pdf" >"$data/page.pdf.html"
check 'a PDF of mine is signed' grep -q 'By Test signer' "$data/page.pdf.html"
curl -s "${nginx[@]}" "http://127.0.0.1:5000$(sed -n 's/.*id="signed" href="\([^"]*\)".*/\1/p' "$data/page.pdf.html")" >"$data/out.pdf"
check 'and begins with mine' cmp -n "$(stat -c %s "$data/in.pdf")" "$data/in.pdf" "$data/out.pdf"
act do/mail -F to=somebody@example.org
mail_sent() { [ "$(sql "select state from mail_message where direction = 'out'")" = sent ]; }
check 'a mail is sent' within 10 mail_sent

# a worker that dies in the middle of a job, with others waiting
{ echo 'begin; lock table core_job in share mode; select pg_sleep(8)' | "$bin/psql" -h 127.0.0.1 -U app -q ecs; } >/dev/null 2>&1 &
holder=$!
sleep 0.5
# a row is inserted before the lock counts: as the web would, but for the lock
/usr/bin/python3 - <<'PY' 2>"$data/queue.log"
import sys
sys.path.insert(0, '.')
import django
django.setup()
from core import tasks
tasks.job.apply_async([2])
tasks.job.apply_async([3])
PY
taken() { [ "$(redis-cli zcard unacked_index)" -ge 2 ]; }
check 'jobs are taken' within 7 taken
kill -KILL -- "-${role[worker]}"
wait "${role[worker]}" 2>/dev/null || true
wait $holder
sql "insert into core_job (id, state, text, queued) values (2, 'queued', '', now()), (3, 'queued', '', now())"
start worker
check 'and are done by the next worker' within 30 jobs_are 'done done done'

# what is away is red, and the page is there
kill -KILL $redis $memcached
check 'without redis the queue is red' within 15 is_red queue
check 'and without memcached the cache' is_red cache
visitor() { curl -s --max-time 9 http://127.0.0.1:5000/ | grep -q 'parts need a look'; }
check 'and visitors are told within seconds' within 25 visitor
check 'web is healthy all the same' healthy web
start_redis
start_memcached
check 'when they are back all is green again' within 60 all_green

for name in web worker beat smtpd; do
  kill -TERM "${role[$name]}"
done
for name in web worker beat smtpd; do
  ended() { ! kill -0 "${role[$name]}" 2>/dev/null; }
  check "$name ends when it is told to" within 15 ended
done
check 'no secret is in the logs' not grep -rqE "$secret|$PDFAS_SECRET" "$data" --include='*.log'
no_keys() { ! compgen -G '/tmp/gpg-*/private-keys-v1.d/*' >/dev/null; }
check 'no key is left in /tmp' no_keys
[ $failed = 0 ] || { tail -n 15 "$data"/{web,worker,beat,smtpd,health}.log; exit 1; }
echo "all well in $SECONDS s"
