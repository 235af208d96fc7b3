#!/usr/bin/env bash
# Client certificates, whose CA and CRL the application writes while nginx runs: a right one is known to the backend; a wrong, a
# revoked and none at all are what optional and mandatory say; a revocation holds within 10 s; an expired CRL is named on the
# status page; and whatever else is written there harms nothing, nor at the next start.
# label: boot
# timeout: 1200
. "$(dirname "$0")/machine.inc"
# while there is something to tell, the page that tells it is what a visitor without a certificate gets
guest appliance-status --clear
. "$(dirname "$0")/web.inc"
restore() {
  stop_echo
  guest sh -c 'rm -rf /data/ecs-ca; [ ! -e /data/ecs-ca.test ] || mv /data/ecs-ca.test /data/ecs-ca
    rm -f /run/active-env.yml; [ ! -e /run/active-env.test ] || mv /run/active-env.test /run/active-env.yml
    systemctl restart appliance-client-ca.path; systemctl reload-or-restart nginx' || true
}
at_end=restore

# two authorities: the one of the ECS, and a stranger's of the same name
authority() { # NAME
  mkdir -p "$work/$1/new"
  : >"$work/$1/index"
  echo 1000 >"$work/$1/serial"
  cat >"$work/$1/conf" <<END
[ca]
default_ca = it
[it]
database = $work/$1/index
serial = $work/$1/serial
new_certs_dir = $work/$1/new
certificate = $work/$1/ca.pem
private_key = $work/$1/ca.key
default_md = sha256
default_days = 30
policy = any
[any]
commonName = supplied
END
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=ECS CA" -addext "keyUsage=keyCertSign,cRLSign" \
    -keyout "$work/$1/ca.key" -out "$work/$1/ca.pem" 2>/dev/null
}
issue() { # AUTHORITY NAME
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$work/$2.key" -out "$work/$2.req" 2>/dev/null
  openssl ca -batch -notext -config "$work/$1/conf" -in "$work/$2.req" -out "$work/$2.pem" 2>/dev/null
}
revoke() { openssl ca -batch -config "$work/$1/conf" -revoke "$work/$2.pem" 2>/dev/null; }
crl() { openssl ca -batch -config "$work/$1/conf" -gencrl -out "$work/$1/crl.pem" "${@:2}" 2>/dev/null; } # AUTHORITY LIFETIME
# the application writes FILE as NAME: as app, the folder is its own
app_writes() {
  # shellcheck disable=SC2016
  guest setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'cat >"/data/ecs-ca/$1"' sh "$2" <"$1"
}
environment() { # true or false: client certificates are mandatory
  echo "appliance: {domain: ecs.example.org, ssl: {client_certs_mandatory: $1}}" >"$work/env"
  put "$work/env" /run/active-env.yml 0600
  guest systemctl reload nginx
}
with() { echo --cert "$work/$1.pem" --key "$work/$1.key"; }
# settled STATUS CURL-ARGUMENT...: within 10 s
settled() { wait_for 10 "$1: within 10 s" answers "${@:2}"; }

authority ecs
authority stranger
for name in right revoked later; do issue ecs $name; done
issue stranger wrong
revoke ecs revoked
crl ecs -crldays 20
crl stranger -crldays 20

stop_echo
guest sh -c '[ ! -e /run/active-env.yml ] || mv /run/active-env.yml /run/active-env.test
  [ ! -e /data/ecs-ca ] || mv /data/ecs-ca /data/ecs-ca.test; install -d -m 0700 -o 1000 -g 1000 /data/ecs-ca; systemctl restart appliance-client-ca.path'
start_echo 5000

# no CA yet
environment false
check "no CA yet: nobody is verified" says "X-Ssl-Client-Verify: NONE" "$url4/"
# shellcheck disable=SC2046
check "no CA yet: a certificate does not harm, nor help" says "X-Ssl-Client-Verify: NONE" $(with right) "$url4/"
environment true
settled "no CA yet, mandatory: 503" 503 "$url4/"
check "and the page says why" says "has no authority for them yet" "$url4/"
for path in /pdf-as-web/ /bkuonline/; do
  check "no CA yet, mandatory: 503 at $path too" answers 503 "$url4$path"
done

# the application makes its CA: mandatory
app_writes "$work/ecs/ca.pem" ca.cert.pem
app_writes "$work/ecs/crl.pem" crl.pem
# shellcheck disable=SC2046
settled "the application writes CA and CRL: a right certificate passes" 200 $(with right) "$url4/"
serial=$(openssl x509 -in "$work/right.pem" -noout -serial | cut -d= -f2)
# shellcheck disable=SC2046
{
  check "the backend gets SUCCESS" says "X-Ssl-Client-Verify: SUCCESS" $(with right) "$url4/"
  check "and the serial" says "X-Ssl-Client-Serial: $serial" $(with right) "$url4/"
  check "a forged serial beside a right certificate does not get through" says "X-Ssl-Client-Serial: $serial" $(with right) -H "X-Ssl-Client-Serial: 99" "$url4/"
  check "a right certificate passes on IPv6" answers 200 $(with right) "$url6/"
  check "mandatory: a wrong certificate is refused" answers 403 $(with wrong) "$url4/"
  check "mandatory: a revoked one is refused" answers 403 $(with revoked) "$url4/"
  check "and the page says so" says "Your certificate was refused" $(with revoked) "$url4/"
  check "mandatory: none is refused" answers 403 "$url4/"
  check "and the page says what is needed" says "A client certificate is needed" "$url4/"
  for path in /pdf-as-web/ /bkuonline/ //; do
    check "mandatory: none is refused at $path" answers 403 "$url4$path"
  done
  for path in /503.html /refused.html /needed.html; do
    check "mandatory: a page of nginx' own is no way in: $path" answers 404 "$url4$path"
  done
  guest appliance-status --state updating "The appliance is being updated" "It takes some minutes."
  check "while there is a state to tell, who has none reads that, as 503" answers 503 "$url4/"
  check "in its words" says "The appliance is being updated" "$url4/"
  guest appliance-status --clear
}

# optional
environment false
# shellcheck disable=SC2046
{
  settled "optional: none passes" 200 "$url4/"
  check "optional: none passes, as NONE" says "X-Ssl-Client-Verify: NONE" "$url4/"
  check "optional: a right one passes" says "X-Ssl-Client-Verify: SUCCESS" $(with right) "$url4/"
  check "optional: a wrong one is refused" answers 403 $(with wrong) "$url4/"
  check "optional: a revoked one is refused" answers 403 $(with revoked) "$url4/"
  check "as a POST too" answers 403 -X POST -d x $(with revoked) "$url4/"
}

# revoked in the application: refused within 10 s, a session that was open or could be resumed included
# shellcheck disable=SC2046
check "a certificate that will be revoked passes" answers 200 $(with later) "$url4/"
cat >"$work/keep.py" <<'END'
"""One connection with a certificate that stays open, and a session to resume: what they get before and after a revocation."""
import http.client, ssl, sys, time
host, cert, key = sys.argv[1:4]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.load_cert_chain(cert, key)
def ask(connection):
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    return answer.status
first = http.client.HTTPSConnection(host, context=context, timeout=20)
assert ask(first) == 200
session = first.sock.session
print("open", flush=True)
sys.stdin.readline()
try:
    print("kept", ask(first))
except (http.client.HTTPException, OSError) as error:
    print("kept closed", type(error).__name__)
raw = __import__("socket").create_connection((host, 443), 20)
again = context.wrap_socket(raw, session=session)
again.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
print("resumed", again.session_reused, again.recv(4096).split(b" ")[1].decode())
END
mkfifo "$work/go"
python3 "$work/keep.py" "$guest4" "$work/later.pem" "$work/later.key" <"$work/go" >"$work/kept" 2>&1 &
keep=$!
exec 3>"$work/go"
wait_for 10 "a connection with it stays open" grep -q open "$work/kept"
revoke ecs later
crl ecs -crldays 20
app_writes "$work/ecs/crl.pem" crl.pem
# shellcheck disable=SC2046
settled "revoked in the application: refused" 403 $(with later) "$url4/"
echo >&3
exec 3>&-
wait $keep || true
cat "$work/kept"
kept_is() { grep -qE "$1" "$work/kept"; }
check "the connection that was open is closed" kept_is '^kept closed'
check "its session is not resumed, and refused" kept_is '^resumed False 40'
# shellcheck disable=SC2046
check "the right one still passes" answers 200 $(with right) "$url4/"

# many writes one after the other: the last one counts
issue ecs last
for _ in 1 2 3 4 5 6 7 8; do
  crl ecs -crldays 20
  app_writes "$work/ecs/crl.pem" crl.pem
done
revoke ecs last
crl ecs -crldays 20
app_writes "$work/ecs/crl.pem" crl.pem
# shellcheck disable=SC2046
settled "eight lists in a row, then one that revokes: refused" 403 $(with last) "$url4/"
check "the path unit still watches" guest systemctl is-active appliance-client-ca.path

# what is broken is not taken over, and told
pid() { guest systemctl show -p MainPID --value nginx; }
before=$(pid)
head -c 100 "$work/ecs/crl.pem" >"$work/half"
broken() { # DESCRIPTION
  wait_for 10 "$1: named on the page" guest grep -q "cannot be read. The one before stays in force" /run/appliance/503.html
  # shellcheck disable=SC2046
  check "$1: the revoked one is refused still" answers 403 $(with revoked) "$url4/"
  # shellcheck disable=SC2046
  check "$1: the right one passes still" answers 200 $(with right) "$url4/"
}
mended() {
  app_writes "$work/ecs/ca.pem" ca.cert.pem
  app_writes "$work/ecs/crl.pem" crl.pem
  wait_for 10 "mended: named no longer" guest sh -c '! grep -q "cannot be read" /run/appliance/503.html'
}
app_writes "$work/half" crl.pem
broken "half a CRL"
mended
app_writes "$work/stranger/crl.pem" crl.pem
broken "a CRL that another CA signed"
mended
app_writes "$work/half" ca.cert.pem
broken "a broken CA"
mended
guest setpriv --reuid=1000 --regid=1000 --clear-groups ln -sfn /data/etc/server.key.pem /data/ecs-ca/crl.pem
broken "a link to root's files"
mended_link() { guest rm /data/ecs-ca/crl.pem && mended; }
mended_link
guest setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'rm /data/ecs-ca/crl.pem; mkfifo /data/ecs-ca/crl.pem'
broken "a pipe without an end"
same_pid() { [ "$(pid)" = "$before" ]; }
check "nginx ran all the time" same_pid

# at the next start, with nothing left in /run
guest sh -c 'systemctl stop nginx; rm -rf /run/appliance/nginx /run/appliance/nginx-*'
check "nginx starts over a broken CRL" guest systemctl start nginx
broken "after the start"
mended_link

# an expired CRL: first one that expires while it is in force, then one that was too old when it was written
crl ecs -crlsec 8
app_writes "$work/ecs/crl.pem" crl.pem
until_refused() { answers 403 --cert "$work/right.pem" --key "$work/right.key" "$url4/"; }
wait_for 20 "a CRL expires: nginx refuses every certificate" until_refused
check "the timer that will find it is active" guest systemctl is-active appliance-client-ca.timer
guest systemctl start appliance-client-ca.service
named() { guest grep -q "revocation list of the client certificates has expired" "/run/appliance/$1"; }
check "an expired CRL is named on the status page" named 503.html
app_writes "$work/half" crl.pem
wait_for 10 "another notice does not displace it" guest grep -q "cannot be read" /run/appliance/503.html
check "it is named still" named 503.html
crl ecs -crldays 20
app_writes "$work/ecs/crl.pem" crl.pem
wait_for 10 "with a new one it is named no longer" guest sh -c '! grep -q "has expired" /run/appliance/503.html'
crl ecs -crlsec 1
sleep 2
app_writes "$work/ecs/crl.pem" crl.pem
wait_for 10 "one that is too old when it is written is named" named 503.html
# shellcheck disable=SC2046
settled "with it nginx refuses every certificate" 403 $(with right) "$url4/"
# shellcheck disable=SC2046
check "who is refused reads it too" says "revocation list of the client certificates has expired" $(with right) "$url4/"
check "who has none still passes where they are optional" answers 200 "$url4/"
guest systemctl stop test-echo-5000
check "the page of a visitor names it" says "revocation list of the client certificates has expired" "$url4/"
crl ecs -crldays 20
app_writes "$work/ecs/crl.pem" crl.pem
wait_for 10 "with a new one it is named no longer" guest sh -c '! grep -q "has expired" /run/appliance/503.html'

# the CA is gone: nobody gets in by a certificate
start_echo 5000
environment true
guest rm /data/ecs-ca/ca.cert.pem /data/ecs-ca/crl.pem
# shellcheck disable=SC2046
settled "the CA is taken away, mandatory: 503" 503 $(with right) "$url4/"

finish_checks
