#!/usr/bin/env bash
# The application as a user finds it from outside, on the images that the appliance brings and without a network: a status page
# all green, mail that comes and is answered once, a job, a vault that is encrypted, a signed PDF that another program verifies,
# client certificates; and containers that have no rights they do not need.
# Needs pdfsig, jq, gpg, python3-aiosmtpd.
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
at_end=leave_ecs

start_ecs
start_sink

echo '# the status page'
check 'the page is there' front_is 200 ''
anonymous() { front status.json | jq -e '[.parts[] | has("text")] | any | not' && front '' >"$work/page" && ! grep -F '172.17.' "$work/page"; }
check 'who has no certificate sees colours and no details' anonymous
anonymous_acts() { [ "$(front_code do/job --request POST)" = 403 ]; }
check 'and can do nothing' anonymous_acts

echo '# client certificates'
client reader
sees_serial() { front_says "$serial" certificate "${as[@]}"; }
wait_for 30 'the page shows the serial of a client certificate' sees_serial
no_serial() { front certificate >"$work/page" && grep -q '<html' "$work/page" && ! grep -qi "$serial" "$work/page"; }
check 'and to others it does not' no_serial
details() { front status.json "${as[@]}" | jq -e '[.parts[] | .text | length > 0] | all'; }
check 'who has a certificate sees details' details

echo '# mail'
for how in starttls smtps; do
  subject=$how-$RANDOM
  check "$how: a mail is taken" send $how "$subject@outside.example" "$subject"
  wait_for 60 "$how: it arrives in the application" arrived "$subject"
  wait_for 120 "$how: its answer arrives outside" answer_to "$subject"
  answer=$(answer_to "$subject" | head -n 1)
  check "$how: the answer threads" header_is "$answer" References "<$subject@outside.example>"
  check "$how: and says that a program wrote it" header_is "$answer" Auto-Submitted auto-replied
done
subject=robot-$RANDOM
check 'an answer of a program is taken' send starttls "$subject@outside.example" "$subject" 'Auto-Submitted: auto-replied'
wait_for 60 'it arrives' arrived "$subject"
# one that is answered, sent after it: by then the other would have been answered too
after=after-$RANDOM
check 'a mail after it is taken' send starttls "$after@outside.example" "$after"
wait_for 120 'and answered' answer_to "$after"
not_answered() { ! answer_to "$subject"; }
check 'the answer of a program is not answered' not_answered
elsewhere() {
  python3 - "$guest4" <<'PYTHON'
import smtplib, ssl, sys
client = smtplib.SMTP(sys.argv[1], 25, timeout=120)
client.starttls(context=ssl._create_unverified_context())
client.ehlo()
client.mail("a@outside.example")
code, text = client.rcpt("b@elsewhere.example")
print(code, text)
sys.exit(code != 550)
PYTHON
}
check 'mail to another domain is refused' elsewhere

echo '# jobs'
jobs_done() { [ "$(sql "select count(*) from core_job where state = 'done'")" -ge "$1" ]; }
before=$(sql "select count(*) from core_job where state = 'done'")
act do/job >"$work/acted"
wait_for 60 'a job is done by the worker' jobs_done $((before + 1))
ticks=$(sql 'select count(*) from core_tick')
ticked() { [ "$(sql 'select count(*) from core_tick')" -gt "$ticks" ]; }
wait_for 90 'beat ticks' ticked

echo '# the storage vault'
vault() { guest find /data/ecs-storage-vault -type f -newer /run/ecs-test -name '*.gpg'; }
guest touch /run/ecs-test
act do/vault >"$work/acted"
check 'a file is in the vault' test -n "$(vault)"
guest cat "$(vault | head -n 1)" >"$work/sealed.gpg"
sealed() {
  gpg --homedir "$work" --batch --list-packets --list-only "$work/sealed.gpg" >"$work/packets" 2>&1 || true
  cat "$work/packets"
  grep -q 'encrypted data packet' "$work/packets" && ! grep -q 'literal data' "$work/packets"
}
check 'and it is encrypted' sealed
check 'the keys are the application'"'"'s alone' test "$(guest stat -c '%a %u' /data/ecs-gpg/vault_sign.asc)" = '600 1000'

echo '# a signed PDF'
act pdf >"$work/pdf.html"
link=$(sed -n 's/.*href="\/\(pdf\/[0-9a-f-]*\)".*/\1/p' "$work/pdf.html" | head -n 1)
check 'the page offers a signed PDF' test -n "$link"
front "${link:-pdf/none}" "${as[@]}" >"$work/signed.pdf"
signed() { pdfsig "$work/signed.pdf" && pdfsig "$work/signed.pdf" | grep -q 'Signature Validation: Signature is Valid'; }
check 'pdfsig verifies it' signed
flipped() { # a byte in the middle of what is signed
  python3 - "$work/signed.pdf" "$work/flipped.pdf" <<'PYTHON'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[20] ^= 1
open(sys.argv[2], "wb").write(data)
PYTHON
  ! pdfsig "$work/flipped.pdf" | grep -q 'Signature is Valid'
}
check 'and not one in which a bit was changed' flipped
own_key() {
  (cd "$work" && pdfsig -dump signed.pdf >/dev/null)
  openssl pkcs7 -inform DER -in "$work/signed.pdf.sig0" -print_certs | openssl x509 -noout -fingerprint -sha256 >"$work/signer"
  guest openssl x509 -in /data/etc/pdfas/cert.pem -noout -fingerprint -sha256 | diff - "$work/signer"
}
check 'it is signed by the key of this machine' own_key
post() { curl -ksS --max-time 60 -o "$work/post" -w '%{http_code}' "https://$guest4/$1" "${@:2}"; }
check 'nobody outside has anything signed' test "$(post pdf-as-web/Sign --form "pdf-file=@$work/signed.pdf")" = 403
check 'the key is pdfas'"'"' alone' test "$(guest stat -c '%a %u' /data/etc/pdfas/key.pem)" = '600 422'
security_layer() { post bkuonline/http-security-layer-request --data-urlencode 'XMLRequest=<x/>' >/dev/null; cat "$work/post"; grep -q ErrorResponse "$work/post"; }
check 'the citizen card answers' security_layer

echo '# revocation'
client leaver
wait_for 30 'a second certificate is taken' front_is 200 '' "${as[@]}"
manage revoke "$serial" >/dev/null
wait_for 10 'revoked: refused' front_is 403 '' "${as[@]}"

echo '# containers'
wait_for 60 'each is healthy' all_healthy
only_bridge() { [ "$(guest docker network ls --format '{{.Name}}' | sort | xargs)" = 'bridge host none' ]; }
check 'no network but those of docker' only_bridge
rights() {
  local service pid
  for service in "${services[@]}"; do
    pid=$(init_of "$service")
    guest sh -c 'awk "/^(Uid|CapEff|CapBnd|NoNewPrivs):/ {print \$1, \$2}" "/proc/$1/status" | xargs' sh "$pid" >"$work/rights"
    echo "$service: $(cat "$work/rights")"
    grep -qE '^Uid: [1-9][0-9]* CapEff: 0+ CapBnd: 0+ NoNewPrivs: 1$' "$work/rights" || return 1
    ! guest docker exec "$(container "$service")" sh -c ': >/etc/x' 2>/dev/null || return 1
  done
}
check 'each has a user, no capability, no way to more, and a root that it cannot write' rights
limits() {
  local found
  found=$(guest sh -c 'docker inspect -f "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.NetworkSettings.IPAddress}}" $(docker ps -q)')
  echo "$found"
  [ "$(wc -l <<<"$found")" = ${#services[@]} ] && ! grep -vE '^[1-9][0-9]+ [1-9][0-9]+ 172\.17\.[0-9.]+$' <<<"$found"
}
check 'each has limits, and an address of the bridge' limits
loopback() { guest docker ps --format '{{.Ports}}' | tr ',' '\n' | grep -e '->' >"$work/published" && ! grep -v '127.0.0.1:' "$work/published"; }
check 'ports are published on loopback alone' loopback
green_within 60 'all is green still'

finish_checks
