#!/usr/bin/env bash
# What a container that was taken over reaches, seen from pdfas', which is given files of strangers: neither redis, memcached, the
# application with forged headers, nor the metadata of a cloud, and PostgreSQL by password alone. What is refused there works
# where it may, so that each refusal is one.
# Needs what neighbour.inc needs.
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
# shellcheck source=neighbour.inc
. "$here/neighbour.inc"
leave() {
  guest systemctl stop test-metadata
  remove_neighbour
  leave_ecs
}
at_end=leave

start_ecs
wait_for 120 'each container is healthy' all_healthy
opens() { within "$1" timeout 5 bash -c 'exec 3<>/dev/tcp/$1/$2' bash "$2" "$3"; } # FROM ADDRESS PORT
refused() { ! "$@"; }

echo '# containers'
for target in 'redis 6379' 'memcached 11211' 'ecs.web 5000' 'ecs.smtpd 8025' 'mocca 8080' 'ecs.beat 80'; do
  read -r name port <<<"$target"
  check "pdfas to $name: refused" refused opens pdfas "$(address_of "$name")" "$port"
done
check 'the application to redis: allowed' opens ecs.worker "$(address_of redis)" 6379
check 'the application to memcached: allowed' opens ecs.worker "$(address_of memcached)" 11211
check 'the application to pdfas: allowed' opens ecs.worker "$(address_of pdfas)" 8080
check 'web to mocca: allowed' opens ecs.web "$(address_of mocca)" 8080
check 'redis to the application: refused' refused opens redis "$(address_of ecs.web)" 5000
check 'mocca to pdfas: refused' refused opens mocca "$(address_of pdfas)" 8080
for port in 5000 5025 5090 5095 8891 9100; do
  check "pdfas to port $port of the host: refused" refused opens pdfas 172.17.0.1 $port
done

echo '# forged headers'
forged=(-H 'X-Ssl-Client-Verify: SUCCESS' -H 'X-Ssl-Client-Serial: 4711' -H 'X-Appliance-Secret: 0000' -H 'X-Forwarded-Proto: https')
by_nginx() { within pdfas curl -ksS --max-time 30 --resolve "$domain:443:$guest4" "https://$domain/certificate" "${forged[@]}"; }
not_believed() { by_nginx >"$work/page" && grep -qi '<html' "$work/page" && ! grep -q 4711 "$work/page"; }
check 'by the public address: nginx takes them away' not_believed
directly() { within ecs.web curl -sS --max-time 30 -H "Host: $domain" "http://127.0.0.1:5000/certificate" "$@"; }
unbelieved() { directly "${forged[@]}" >"$work/page" && grep -qi '<html' "$work/page" && ! grep -q 4711 "$work/page"; }
check 'even beside the application, without the secret they are not believed' unbelieved
guest sed -n 's/^APPLIANCE_PROXY_SECRET=/X-Appliance-Secret: /p' /data/etc/proxy_secret.env >"$work/secret"
with_secret() {
  put "$work/secret" /run/test-secret 0600
  directly -H 'X-Ssl-Client-Verify: SUCCESS' -H 'X-Ssl-Client-Serial: 4711' -H 'X-Forwarded-Proto: https' -H @/run/test-secret | grep 4711
  guest rm /run/test-secret
}
check 'with it they would be' with_secret

echo '# the database'
# psql of the machine, in the container's network; the password by a file
ask_database() { within pdfas env PGCONNECT_TIMEOUT=5 PGPASSFILE="$1" psql -w -Atqc 'select 1' "host=172.17.0.1 user=$2 dbname=$3"; }
guest sh -c 'umask 077; printf "172.17.0.1:5432:ecs:app:%s\n" "$(cat /data/etc/database.password)" >/run/test-pass; printf "*:*:*:*:wrong\n" >/run/test-wrong; : >/run/test-none'
no_way() { ! ask_database "$@" 2>"$work/said" && cat "$work/said" && ! grep -qi 'timeout' "$work/said"; }
check 'without a password: refused' no_way /run/test-none app ecs
check 'with a wrong one: refused' no_way /run/test-wrong app ecs
check 'as another user: refused' no_way /run/test-none postgres postgres
check 'with the application'"'"'s: allowed' ask_database /run/test-pass app ecs
guest rm /run/test-pass /run/test-wrong /run/test-none
secrets_of() { guest docker exec "$(container "$1")" env | grep -oE '^(DATABASE_URL|APPLIANCE_PROXY_SECRET|ECS_SETTINGS|PDFAS_SECRET)' | sort | xargs; }
for service in pdfas mocca redis memcached; do check "$service is told no secret" test -z "$(secrets_of "$service")"; done
check 'web is told those it needs' test "$(secrets_of ecs.web)" = 'APPLIANCE_PROXY_SECRET DATABASE_URL ECS_SETTINGS PDFAS_SECRET'
check 'beat is not told how nginx is known' test "$(secrets_of ecs.beat)" = 'DATABASE_URL ECS_SETTINGS'

echo '# the metadata of a cloud'
make_neighbour
guest sh -c 'systemctl reset-failed test-metadata 2>/dev/null; systemd-run -q --unit=test-metadata ip netns exec test-neighbour python3 -m http.server --directory /usr/share/doc --bind 0.0.0.0 80'
metadata() { guest curl -sf -o /dev/null --max-time 5 http://169.254.169.254/; }
wait_for 30 'root of the machine has it' metadata
for service in pdfas ecs.web; do check "$service to the metadata: refused" refused opens "$service" 169.254.169.254 80; done
check 'and to the rest of the world: allowed' opens pdfas "$neighbour4" 80
green_within 60 'all is green still'

finish_checks
