#!/usr/bin/env bash
# Certificates, with a real ACME server (pebble) that asks the machine's port 80: issued, used and renewed; who uses it sees the new
# serial, a container that has the file mounted included; a server that refuses nonces is asked again; and whatever fails, what
# was there stays. The operator's own wins over all.
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
. "$(dirname "$0")/web.inc"
# shellcheck source=acme.inc
. "$here/acme.inc"
domain=ecs.example.org
renew=/usr/local/share/appliance/appliance-certificate-renew.sh
restore() {
  stop_acme
  guest sh -c 'rm -rf /etc/dehydrated/conf.d/90-test.sh /etc/dehydrated/test-ca.pem /data/etc/dehydrated /data/etc/server.*.pem /data/etc/server.origin
    cp -a /data/etc/test-saved/. /data/etc/; rm -rf /data/etc/test-saved
    rm -f /run/active-env.yml; [ ! -e /run/active-env.test ] || mv /run/active-env.test /run/active-env.yml
    docker rm -f test-pdfas >/dev/null 2>&1; docker rmi test-busybox >/dev/null 2>&1
    systemctl restart appliance-certificate nginx; /usr/local/share/appliance/certificate-users.sh; systemctl reset-failed appliance-dehydrated 2>/dev/null' || true
}
at_end=restore

# shellcheck disable=SC2016
guest sh -c 'mkdir /data/etc/test-saved && cd /data/etc && for f in server.key.pem server.cert.pem server.origin dehydrated; do
  [ ! -e $f ] || mv $f test-saved/; done
  [ ! -e /run/active-env.yml ] || mv /run/active-env.yml /run/active-env.test; systemctl restart appliance-certificate nginx'

environment() { # LINE...: below appliance
  {
    echo "appliance:"
    printf '  %s\n' "domain: $domain" "$@"
  } >"$work/env"
  put "$work/env" /run/active-env.yml 0600
}
served() { # serial and issuer of what nginx serves
  openssl s_client -connect "$guest4:443" -servername $domain </dev/null 2>/dev/null | openssl x509 -noout -serial -issuer -ext subjectAltName
}
serial() { served | sed -n 's/^serial=//p'; }
on_disk() { guest openssl x509 -in /app/etc/server.cert.pem -noout -serial | sed 's/^serial=//'; }
same_served() { [ "$(serial)" = "$(on_disk)" ]; }
other_served() { [ -n "$(serial)" ] && [ "$(serial)" != "$1" ] && same_served; }
still_served() { [ "$(serial)" = "$1" ]; }
issuer() { served | grep "^issuer=.*$1" >/dev/null; }
origin() { [ "$(guest cat /app/etc/server.origin)" = "$1" ]; }
renews() { guest $renew "$@"; }
refuses() { ! guest $renew "$@"; }
mode() { [ "$(guest stat -L -c '%a %U' "$1")" = "$2" ]; }
pair() {
  [ "$(guest openssl pkey -in /app/etc/server.key.pem -pubout)" = "$(guest openssl x509 -in /app/etc/server.cert.pem -noout -pubkey)" ]
}

# self-signed first, for the domain of the environment
environment "ssl: {letsencrypt: {enabled: false}}"
check "without Let's Encrypt: what is there becomes one for the domain" renews
wait_for 5 "nginx serves it" same_served
first=$(serial)
check "it is for the domain" guest openssl x509 -in /app/etc/server.cert.pem -noout -checkend 86400
for_domain() { served | grep "DNS:$domain" >/dev/null; }
check "it has the domain's name" for_domain
check "again: nothing changes" renews
check "the same is served" still_served "$first"

# no server answers
environment "ssl: {letsencrypt: {enabled: true}}"
acme_root
acme_is 9
check "the CA cannot be reached: said by the exit status" refuses
check "the self-signed one stays" still_served "$first"
check "nginx runs" guest systemctl is-active nginx

# pebble
start_acme 0
acme_is $acme_port

# a container that has the certificate mounted, as pdfas and mocca will
if guest docker info >/dev/null 2>&1; then
  mkdir -p "$work/root/bin"
  cp /bin/busybox "$work/root/bin/"
  for applet in sh sleep cat; do ln -s busybox "$work/root/bin/$applet"; done
  tar -C "$work/root" -c . | guest docker import - test-busybox >/dev/null
  guest docker run -d --stop-timeout 1 --name test-pdfas --network bridge -v /app/etc/server.cert.pem:/app/import/server.cert.pem:ro test-busybox \
    /bin/sh -c 'cat /app/import/server.cert.pem >/started-with; exec sleep 100000' >/dev/null
else
  fail "docker does not run: a container's view cannot be looked at"
fi
in_container() { guest docker exec test-pdfas /bin/cat "$1" | openssl x509 -noout -serial | sed 's/^serial=//'; }
container_sees() { [ "$(in_container /app/import/server.cert.pem)" = "$(on_disk)" ] && [ "$(in_container /started-with)" = "$(on_disk)" ]; }
check "a container sees the certificate" container_sees

# issued
check "issued by http-01" renews
wait_for 5 "nginx serves another one" other_served "$first"
check "of the CA" issuer Pebble
check "for the domain" for_domain
check "it is known as Let's Encrypt's" origin letsencrypt
check "with its chain" test "$(guest grep -c 'BEGIN CERT' /app/etc/server.cert.pem)" -ge 2
check "key and certificate belong together" pair
check "the key is 0600 root" mode /app/etc/server.key.pem "600 root"
check "the certificate may be read" mode /app/etc/server.cert.pem "644 root"
check "the container has started with the new one, and sees it" container_sees
account=$(guest sh -c 'cat /data/etc/dehydrated/accounts/*/account_key.pem' | sha256sum)
not_roots() { [ -z "$(guest find /data/etc/dehydrated ! -user app)" ]; }
check "all that dehydrated wrote is app's: it never ran as root" not_roots
check "its folder is app's alone" mode /data/etc/dehydrated "700 app"
no_challenge() { guest test ! -e /run/appliance-acme; }
check "no challenge is left" no_challenge
no_copy() { [ -z "$(guest find /run/appliance /tmp /var/tmp -name 'tmp.*' -newer /etc/dehydrated/conf.d/90-test.sh -type f)" ]; }
check "no copy of a key is left" no_copy

# not due
second=$(serial)
orders() { grep -c 'Issued certificate serial' "$work/pebble.log" || true; }
count=$(orders)
check "again: it is not due" renews
check "the same is served, and nothing was ordered" test "$second $count" = "$(serial) $(orders)"
# renewed
guest touch /app/etc/flags/force.update.letsencrypt
check "renewed, for its flag is set" renews
wait_for 5 "nginx serves another one again" other_served "$second"
check "the flag is gone" guest test ! -e /app/etc/flags/force.update.letsencrypt
check "the container has started with the new one" container_sees
check "the account is the same" test "$account" = "$(guest sh -c 'cat /data/etc/dehydrated/accounts/*/account_key.pem' | sha256sum)"
one_key() { [ "$(guest sh -c 'ls /data/etc/dehydrated/certs/*/privkey-*.pem' | wc -l)" = 1 ]; }
check "the key before is not kept" one_key
if guest systemctl is-active -q appliance-stunnel; then
  by_mail() { openssl s_client -connect "$guest4:$1" "${@:2}" </dev/null 2>/dev/null | openssl x509 -noout -serial | sed 's/^serial=//'; }
  mail_serves() { [ "$(by_mail "$@")" = "$(on_disk)" ]; }
  wait_for 10 "stunnel serves the new one on 465" mail_serves 465
  # STARTTLS needs somebody who greets behind it
  [ "$(guest sh -c 'ss -Hltn sport = 5025' | wc -l)" = 0 ] || check "and on 25, by STARTTLS" mail_serves 25 -starttls smtp
else
  echo "skip  stunnel does not run"
fi

# another name
environment "allowed_hosts: [$domain, also.example.org, localhost, '*', 10.0.0.1]" "ssl: {letsencrypt: {enabled: true}}"
check "another name in allowed_hosts: a new one is ordered" renews
both_names() {
  served
  [ "$(served | grep -o 'DNS:[^, ]*' | sort | tr '\n' ' ')" = "DNS:also.example.org DNS:$domain " ]
}
wait_for 5 "it is for both names, and no others" both_names

# a server that refuses nonces
kill "$acme"
start_acme 5
since=$(guest date '+%F %T')
was_refused() { guest journalctl -u appliance-dehydrated --since "$since" | grep 'nonce was refused' >/dev/null; }
for round in $(seq 15); do
  third=$(serial)
  check "5 % of nonces refused: renewed, time $round" renews --force
  wait_for 5 "nginx serves it" other_served "$third"
  if was_refused; then break; fi
done
check "a nonce was refused indeed" was_refused

# the CA is gone, and an account whose registration was cut short
kill "$acme"
third=$(serial)
check "a renewal fails: said by the exit status" refuses --force
check "what was there stays" still_served "$third"
check "a start with a certificate that is not due needs no CA" renews
start_acme 0
# shellcheck disable=SC2016
guest sh -c 'for f in /data/etc/dehydrated/accounts/*/registration_info.json; do : >$f; done'
check "a registration that was cut short is made again" renews --force
wait_for 5 "nginx serves another one" other_served "$third"

# what app has in its folder is not believed
third=$(serial)
certs=/data/etc/dehydrated/certs/$domain
hostile() { # what lies there, put there by app as a renewal would have left it
  guest setpriv --reuid=1000 --regid=1000 --clear-groups sh -c "cd $certs && rm -f privkey.pem fullchain.pem && $1"
  guest sh -c "printf 'letsencrypt-test\n' >/app/etc/server.origin"
}
guest sh -c "install -o app -m 0600 /dev/null $certs/saved; cp -a $certs/. /data/etc/test-saved/certs"
check_hostile() { # DESCRIPTION COMMANDS
  hostile "$2"
  check "$1: refused" refuses
  check "$1: what was there stays" still_served "$third"
}
check_hostile "a key that is not the certificate's" "openssl ecparam -genkey -name prime256v1 -noout -out privkey.pem; cp cert.pem fullchain.pem"
check_hostile "a link to root's key" "ln -s /app/etc/server.key.pem privkey.pem; cp cert.pem fullchain.pem"
check_hostile "a pipe" "mkfifo privkey.pem fullchain.pem"
check_hostile "another domain" "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -addext subjectAltName=DNS:evil.example -keyout privkey.pem -out fullchain.pem 2>/dev/null"
guest sh -c "rm -rf $certs; cp -a /data/etc/test-saved/certs $certs; rm -rf /data/etc/test-saved/certs; echo letsencrypt >/app/etc/server.origin"

# the operator's own
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=own" -addext "subjectAltName=DNS:$domain" -keyout "$work/own.key" -out "$work/own.pem" 2>/dev/null
own() { # KEY CERT
  local lines=("ssl:" "  letsencrypt: {enabled: true}")
  mapfile -t -O 2 lines < <(echo "  key: |"; sed 's/^/    /' "$1"; echo "  cert: |"; sed 's/^/    /' "$2")
  environment "${lines[@]}"
}
own "$work/own.key" "$work/own.pem"
check "the operator's own certificate wins" renews
wait_for 5 "nginx serves it" issuer own
check "the container has it too" container_sees
own "$work/acme.key" "$work/own.pem"
check "an own key of another certificate is refused" refuses
check "the own one before stays" issuer own
check "key and certificate belong together" pair
environment "ssl: {letsencrypt: {enabled: false}}"
check "the own one is taken back: self-signed" renews
wait_for 5 "nginx serves a self-signed one" issuer $domain
key_in_journal() { guest journalctl --since -10min | grep -F "$(sed -n 2p "$work/own.key")" >/dev/null; }
check "no key is in the journal" test "$(key_in_journal && echo found)" = ""

# a power cut between the two files of a pair
fourth=$(serial)
guest sh -c 'cd /data/etc && mkdir .certificate && mkdir /run/test-pair && /usr/local/share/appliance/certificate-selfsigned.sh /run/test-pair '$domain' &&
  mv /run/test-pair/server.cert.pem .certificate/ && mv /run/test-pair/server.key.pem server.key.pem && echo selfsigned >.certificate/server.origin && rmdir /run/test-pair'
check "a change that was cut short is finished at boot" guest systemctl restart appliance-certificate
check "key and certificate belong together" pair
guest systemctl reload nginx
wait_for 5 "nginx serves the new one" other_served "$fourth"
guest sh -c 'head -c 50 /data/etc/server.cert.pem >/data/etc/x && mv /data/etc/x /data/etc/server.cert.pem'
check "a certificate that is cut off is made anew at boot" guest systemctl restart appliance-certificate
check "key and certificate belong together" pair

finish_checks
