#!/usr/bin/env bash
# The stand-ins for PDF-AS and MOCCA: built twice they are the same trees, foreign files are those of image.lock; on Tomcat, as a
# user who may write nothing of it, pdfas signs for who knows the secret and for nobody else, mocca answers by the Security
# Layer, and what is broken, hostile or too large is refused in a sentence.
# label: guest
# timeout: 300
# shellcheck source=../appliance/machine.inc disable=SC2016 # what is quoted is for another shell
MACHINE=with:/dev/null
. "$(dirname "$0")/../appliance/machine.inc"
top=$(cd "$here/../.." && pwd)
mine=$top/tests/java
payload=$top/overlays/ecs
projects=(tomcat pdfas mocca)

servers=()
machine_leaves() {
  local pid
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  chmod -R u+w "$work"
}

# --- the trees ---

for project in "${projects[@]}"; do
  mkdir -p "$work/source/$project"
  cp -r "$payload/$project/"{pom.xml,image.lock,src} "$work/source/$project/"
done
# what a build leaves: names, contents, and who may run it
listing() { (cd "$work/source/$1/target/image" && find . -printf '%P %y %m\n' | LC_ALL=C sort && find . -type f | LC_ALL=C sort | xargs sha256sum); }

locked() { (cd "$work/source" && "$payload/image-lock.sh" --check "$@"); }
built=0
locked "${projects[@]}" >"$work/built" 2>&1 || built=$?
if grep -q -E 'Could not (transfer|find artifact)|Unknown host|offline mode' "$work/built"; then
  skip "what the projects are built of could not be fetched: $(grep -m 1 ERROR "$work/built")"
fi
[ $built = 0 ] || cat "$work/built"
check "what is foreign in the trees is what image.lock says" [ $built = 0 ]
for project in "${projects[@]}"; do listing "$project"; done >"$work/first"
for project in "${projects[@]}"; do
  check "$project is built again, offline" mvn -q -B -o -f "$work/source/$project/pom.xml" package
done
for project in "${projects[@]}"; do listing "$project"; done >"$work/second"
check "it is the same tree" cmp "$work/first" "$work/second"

another_library() { echo "$(sha256sum </dev/null | cut -c 1-64)  usr/local/tomcat/webapps/bkuonline/WEB-INF/lib/x.jar" >"$work/source/mocca/image.lock" && ! locked mocca; }
check "a library that is locked and not there is noticed" another_library
: >"$work/source/mocca/image.lock"
more() { sed -i 1d "$work/source/pdfas/image.lock" && ! locked pdfas >"$work/more" && grep '^+[0-9a-f]\{64\}  .*\.jar$' "$work/more"; }
check "one that is there and not locked too" more
java_11() {
  local file
  find "$work/source" -name '*.class' >"$work/classes"
  [ -s "$work/classes" ] || return 1
  while IFS= read -r file; do [ "$(od -An -j 6 -N 2 -t u1 "$file")" = '   0  55' ] || { echo "$file"; return 1; }; done <"$work/classes"
}
check "our classes are for Java 11" java_11
check "no project names a server" bash -c '! grep -rnE "<(url|repository|pluginRepository)>" "$@"' bash "${projects[@]/#/$payload/}"
one_application() { [ "$(cd "$work" && echo root-*/usr/local/tomcat/webapps/*)" = 'root-mocca/usr/local/tomcat/webapps/bkuonline.war root-pdfas/usr/local/tomcat/webapps/pdf-as-web' ]; }

# --- Tomcat on them ---

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs)
give() { [ "$(id -u)" != 0 ] || chown -R 65534:65534 "$@"; }

chmod 711 "$work"
mkdir "$work/tmp" "$work/keys" "$work/good" "$work/other" "$work/ec"
# as the host makes them
new_pair() {
  openssl req -x509 -newkey "$2" "${@:3}" -nodes -keyout "$1/key.pem" -out "$1/cert.pem" -days 3650 -subj '/CN=ECS appliance PDF signature' \
    -addext keyUsage=critical,digitalSignature,nonRepudiation -addext basicConstraints=critical,CA:FALSE 2>/dev/null
}
new_pair "$work/good" rsa:3072
new_pair "$work/other" rsa:2048
new_pair "$work/ec" ec -pkeyopt ec_paramgen_curve:prime256v1
secret=$(openssl rand -hex 32)
echo "$secret" >"$work/good/secret"
# keys FILE...: what pdfas sees from now on
keys() { rm -f "$work/keys/"*; cp "$@" "$work/keys/"; chmod 700 "$work/keys"; chmod 600 "$work/keys/"*; give "$work/keys"; }
keys "$work/good/"{key.pem,cert.pem,secret}
# a certificate of the appliance, for the trust store
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/tls.key" -out "$work/tls.pem" -days 30 -subj '/CN=localhost' \
  -addext subjectAltName=DNS:localhost 2>/dev/null
echo 'no certificate' >"$work/broken.pem"
chmod 644 "$work/tls.pem" "$work/broken.pem"
give "$work/tmp"

# start NAME PORT VARIABLE...: sets $pid
start() {
  local name=$1 port=$2 root=$work/root-$1
  shift 2
  mkdir "$root"
  cp -r "$work/source/tomcat/target/image/." "$root/"
  cp -r "$work/source/$name/target/image/." "$root/"
  # one of them packed, as a real one comes
  if [ "$name" = mocca ]; then
    (cd "$root/usr/local/tomcat/webapps" && jar --create --file bkuonline.war -C bkuonline . && rm -r bkuonline)
  fi
  chmod -R a+rX,a-w "$root"
  : >"$work/laid"
  options=$(/usr/bin/python3 -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["config"]["env"]["JAVA_OPTS"])' "$payload/images/$name.yml")
  env -i PATH="$PATH" TOMCAT_BASE="$work/tmp/$name" PDFAS_KEYS="$work/keys" JAVA_OPTS="$options -Dtomcat.address=127.0.0.1 -Dtomcat.port=$port" "$@" \
    "${as_nobody[@]}" "$root/usr/local/tomcat/bin/run" >"$work/$name.log" 2>&1 &
  pid=$!
  servers+=("$pid")
}
pdfas_port=$(port)
mocca_port=$(port)
start pdfas "$pdfas_port" HOSTNAME=ecs.example.at IMPORT_CERT="$work/tls.pem"
pdfas=$pid
start mocca "$mocca_port" HOSTNAME='a<b>&c' IMPORT_CERT="$work/broken.pem"
mocca=$pid
url=http://127.0.0.1:$pdfas_port
bku=http://127.0.0.1:$mocca_port
health() { TOMCAT_PORT=$1 "$work/root-pdfas/usr/local/tomcat/bin/health" "$2"; }
wait_for 60 "pdfas is healthy" health "$pdfas_port" /pdf-as-web/health
wait_for 60 "mocca is healthy" health "$mocca_port" /bkuonline/
check "the health check sees what is not there" bash -c '! TOMCAT_PORT=$1 $2 /nothing' bash "$pdfas_port" "$work/root-pdfas/usr/local/tomcat/bin/health"
check "each has its one application" one_application

# ask CODE CURL-ARGUMENT...: the answer is in $work/answer
ask() {
  local expected=$1 code
  shift
  code=$(curl -s --max-time 100 -o "$work/answer" -w '%{http_code}' "$@") || true
  [ "$code" = "$expected" ] || { echo "status $code, expected $expected"; head -c 500 "$work/answer"; return 1; }
}
# tells CODE TEXT CURL-ARGUMENT...: a sentence, and nothing from the inside
tells() {
  local code=$1 text=$2
  shift 2
  ask "$code" "$@" && grep -q "$text" "$work/answer" && ! grep -a -q -E 'Exception|java\.|org\.apache|%PDF' "$work/answer"
}
page() { ask 200 "$1" && grep -q 'stand-in' "$work/answer" && grep -q -F "$2" "$work/answer" && ! grep -q -E '\{\{' "$work/answer"; }
check "pdfas has a page that says what it is" page "$url/pdf-as-web/" 'ECS of ecs.example.at'
digest_on_page() { ask 200 "$url/pdf-as-web/" && grep -q "$(openssl x509 -in "$work/good/cert.pem" -outform der | sha256sum | cut -d ' ' -f 1)" "$work/answer"; }
check "it has the certificate's digest" digest_on_page
check "mocca has one, and whatever the domain is no markup comes of it" page "$bku/bkuonline/" 'ECS of a&lt;b>&amp;c'
for path in / /manager/html /host-manager/html /docs/ /examples/ /pdf-as-web/WEB-INF/web.xml /pdf-as-web/META-INF/context.xml; do
  check "$path is not there" tells 404 . "$url$path"
done
silent() { curl -si "$url/" "$url/pdf-as-web/" "$url/nothing" "$url/pdf-as-web/Sign" "$url/%00" --path-as-is "$url/../../x" -X TRACE "$url/" >"$work/all"; ! grep -i -E '^server:|tomcat|apache|\bat org\.|x-powered-by' "$work/all"; }
check "no answer names the server or shows its inside" silent
check "nothing is written but on its tmpfs, no access log" bash -c '! find "$1"/*/logs -type f | grep . && ! find "$2" "$3" -cnewer "$4" | grep .' bash "$work/tmp" "$work/root-pdfas" "$work/root-mocca" "$work/laid"
one_port() { [ "$(ss -Hltnp | grep -c "pid=$pdfas,")" = 1 ] && ss -Hltnp | grep "pid=$pdfas," | grep -q "127.0.0.1.*:$pdfas_port "; }
check "it listens on its port and no other" one_port

# --- who gets a signature ---

for kind in plain large deep certified bomb; do python3 "$mine/pdf.py" $kind "$work/$kind.pdf"; done
sign=$url/pdf-as-web/Sign
mine_is=(-H "X-Pdfas-Secret: $secret")
check "a POST without the secret gets no signature" tells 403 'Only the appliance' -F pdf-file=@"$work/plain.pdf" "$sign"
check "nor with another one" tells 403 'Only the appliance' -H "X-Pdfas-Secret: ${secret%?}x" -F pdf-file=@"$work/plain.pdf" "$sign"
check "nor with an empty one" tells 403 'Only the appliance' -H 'X-Pdfas-Secret;' -F pdf-file=@"$work/plain.pdf" "$sign"
check "nor with the secret as a field or in the address" tells 403 'Only the appliance' -F "X-Pdfas-Secret=$secret" -F pdf-file=@"$work/plain.pdf" "$sign?X-Pdfas-Secret=$secret"
check "nor by GET" tells 405 . "${mine_is[@]}" "$sign?pdf-url=file:///etc/passwd"
: >"$work/empty"
keys "$work/good/"{key.pem,cert.pem}
check "while there is no secret nobody gets one" tells 403 'Only the appliance' -H 'X-Pdfas-Secret;' -F pdf-file=@"$work/plain.pdf" "$sign"
install -m 600 "$work/empty" "$work/keys/secret" && give "$work/keys"
check "nor while it is empty" tells 403 'Only the appliance' -H 'X-Pdfas-Secret;' -F pdf-file=@"$work/plain.pdf" "$sign"
keys "$work/good/"{key.pem,cert.pem,secret}

# valid FILE COUNT: pdfsig finds so many signatures, each valid, and the last one over all of the file
valid() {
  pdfsig -nocert "$1" >"$work/pdfsig" 2>&1 || true
  cat "$work/pdfsig"
  [ "$(grep -c 'Signature is Valid' "$work/pdfsig")" = "$2" ] && [ "$(grep -c '  - Total document signed' "$work/pdfsig")" = 1 ]
}
signs() { ask 200 "${mine_is[@]}" -F pdf-file=@"$1" "${@:3}" "$sign" && cp "$work/answer" "$2"; }
check "with the secret a PDF is signed" signs "$work/plain.pdf" "$work/signed.pdf"
check "pdfsig: the signature is valid" valid "$work/signed.pdf" 1
by_our_key() {
  python3 - "$work/signed.pdf" "$work/covered" "$work/cms" <<'END'
import re, sys
pdf = open(sys.argv[1], "rb").read()
a, b, c, d = map(int, re.search(rb"/ByteRange *\[(\d+) (\d+) (\d+) (\d+)", pdf).groups())
open(sys.argv[2], "wb").write(pdf[a:a + b] + pdf[c:c + d])
open(sys.argv[3], "wb").write(bytes.fromhex(pdf[b + 1:c - 1].decode()))
END
  openssl cms -verify -binary -inform der -in "$work/cms" -content "$work/covered" -CAfile "$work/good/cert.pem" -no-CApath -purpose any -out /dev/null &&
    ! openssl cms -verify -binary -inform der -in "$work/cms" -content "$work/covered" -CAfile "$work/other/cert.pem" -no-CApath -purpose any -out /dev/null
}
check "openssl: and by our key" by_our_key
attributes() { openssl asn1parse -inform der -in "$work/cms" | grep -i -q 'signingCertificateV2'; }
check "the signing certificate is among what is signed" attributes
distinguished() { openssl asn1parse -inform der -in "$work/cms" >"$work/asn1" && grep -q ': OCTET STRING' "$work/asn1" && ! grep -q 'l=inf' "$work/asn1"; }
check "it is DER: of definite length" distinguished
tampered() { sed 's/Minutes/minutes/' "$work/signed.pdf" >"$work/tampered.pdf"; ! cmp -s "$work/signed.pdf" "$work/tampered.pdf" && ! valid "$work/tampered.pdf" 1; }
check "of a PDF that was changed it is not" tampered
invisible() { ! pdftotext "$work/signed.pdf" - | grep 'Signed by'; }
check "it is not seen on the page" invisible
seen() { signs "$work/plain.pdf" "$work/seen.pdf" -F visible=1 -F connector=jks && valid "$work/seen.pdf" 1 && pdftotext "$work/seen.pdf" - | grep -q 'Signed by ECS appliance PDF signature, ecs.example.at'; }
check "it is when asked for" seen
check "a signed PDF can be signed again" signs "$work/signed.pdf" "$work/twice.pdf"
check "both signatures are valid" valid "$work/twice.pdf" 2

# --- what is not signed ---

check "no form" tells 415 multipart "${mine_is[@]}" -H 'Content-Type: application/pdf' --data-binary @"$work/plain.pdf" "$sign"
check "a form without a PDF" tells 400 pdf-file "${mine_is[@]}" -F other=1 "$sign"
check "an empty PDF" tells 400 pdf-file "${mine_is[@]}" -F pdf-file=@"$work/empty" "$sign"
check "a form that is none" tells 400 form "${mine_is[@]}" -H 'Content-Type: multipart/form-data; boundary=x' --data-binary 'abc' "$sign"
check "a connector that takes a card" tells 400 jks "${mine_is[@]}" -F connector=bku -F pdf-file=@"$work/plain.pdf" "$sign"
check "what is no PDF" tells 422 'not a PDF' "${mine_is[@]}" -F pdf-file=@"$0" "$sign"
head -c 500 "$work/plain.pdf" >"$work/half.pdf"
check "half of one" tells 422 broken "${mine_is[@]}" -F pdf-file=@"$work/half.pdf" "$sign"
sed '/Minutes/d' "$work/plain.pdf" >"$work/hole.pdf"
check "one with a hole" tells 422 broken "${mine_is[@]}" -F pdf-file=@"$work/hole.pdf" "$sign"
sed 's|/Type /Catalog|/Type /Katalog|; s|/Pages 2 0 R|/Pages 9 0 R|' "$work/plain.pdf" >"$work/rootless.pdf"
check "one without pages" tells 422 broken "${mine_is[@]}" -F pdf-file=@"$work/rootless.pdf" "$sign"
qpdf --encrypt '' owner 256 -- "$work/plain.pdf" "$work/restricted.pdf"
qpdf --encrypt user owner 256 -- "$work/plain.pdf" "$work/locked.pdf"
check "one with restrictions" tells 422 encrypted "${mine_is[@]}" -F pdf-file=@"$work/restricted.pdf" "$sign"
check "one with a password" tells 422 encrypted "${mine_is[@]}" -F pdf-file=@"$work/locked.pdf" "$sign"
head -c 3000000 /dev/zero | cat "$work/large.pdf" - >"$work/larger.pdf"
check "one whose author allows no change" tells 422 certified "${mine_is[@]}" -F pdf-file=@"$work/certified.pdf" "$sign"
check "more than 30 MB" tells 413 '30 MB' "${mine_is[@]}" -F pdf-file=@"$work/larger.pdf" "$sign"
check "more than 30 MB of unknown length" tells 413 '30 MB' "${mine_is[@]}" -H 'Transfer-Encoding: chunked' -F pdf-file=@"$work/larger.pdf" "$sign"
check "arrays in arrays without end" tells 422 broken "${mine_is[@]}" -F pdf-file=@"$work/deep.pdf" "$sign"
check "a stream of 1 GB" tells 422 broken "${mine_is[@]}" -F pdf-file=@"$work/bomb.pdf" "$sign"
check "after all that it signs" signs "$work/plain.pdf" "$work/after.pdf"

# --- its keys ---

keys "$work/good/key.pem" "$work/other/cert.pem" "$work/good/secret"
unfit() { ask 503 "$url/pdf-as-web/health" && tells 503 'cannot be used' "${mine_is[@]}" -F pdf-file=@"$work/plain.pdf" "$sign" && page "$url/pdf-as-web/" 'cannot be used'; }
check "key and certificate of two pairs: no signature, unhealthy, the page says so" unfit
keys "$work/good/secret"
check "no key: the same" tells 503 'no signing key' "${mine_is[@]}" -F pdf-file=@"$work/plain.pdf" "$sign"
keys "$work/ec/key.pem" "$work/ec/cert.pem" "$work/good/secret"
elliptic() { signs "$work/plain.pdf" "$work/elliptic.pdf" && pdfsig "$work/elliptic.pdf" | grep -q 'Signature is Valid'; }
check "a key on an elliptic curve signs" elliptic
keys "$work/good/"{key.pem,cert.pem,secret}
check "the first pair is back, without a restart" signs "$work/plain.pdf" "$work/after.pdf"
check "no secret or key is in its log or environment" bash -c '! grep -F -e "$1" -e PRIVATE "$2" && ! tr "\0" "\n" <"/proc/$3/environ" | grep -F "$1" && ! tr "\0" "\n" <"/proc/$3/cmdline" | grep -F "$1"' bash "$secret" "$work/pdfas.log" "$pdfas"

# --- many and much ---

check "a PDF of 29 MB is signed" signs "$work/large.pdf" "$work/large-signed.pdf"
check "its signature is valid" valid "$work/large-signed.pdf" 1
twenty() {
  local n
  printf 'header = "X-Pdfas-Secret: %s"\n' "$secret" >"$work/header"
  seq 20 | xargs -P 20 -I {} curl -s -f --max-time 100 -K "$work/header" -F pdf-file=@"$work/plain.pdf" -o "$work/many-{}.pdf" "$sign" || return 1
  for n in $(seq 20); do valid "$work/many-$n.pdf" 1 || return 1; done
}
began=$(date +%s%N)
check "20 at once are all signed" twenty
echo "      in $((($(date +%s%N) - began) / 1000000)) ms, pdfsig included"
# one that comes slowly has its turn; of 30 others 24 wait, and go away after 3 s
queue() {
  curl -s -K "$work/header" --limit-rate 50k -F pdf-file=@"$work/large.pdf" -o /dev/null "$sign" &
  local slow=$!
  sleep 1
  seq 30 | xargs -P 30 -I {} curl -s --max-time 3 -K "$work/header" -F pdf-file=@"$work/plain.pdf" -o /dev/null -w '%{http_code}\n' "$sign" >"$work/queue" || true # who gave up
  kill $slow
  sort "$work/queue" | uniq -c
  [ "$(grep -c '^503' "$work/queue")" = 6 ] && [ "$(grep -c '^000' "$work/queue")" = 24 ]
}
check "24 wait, more are told to come again" queue
# those who waited are seen to be gone a moment later
wait_for 20 "an upload that breaks off holds up nobody" signs "$work/plain.pdf" "$work/after.pdf"
gone() { ! find "$work/tmp" -type f -name '*.pdf' -o -type f -name 'upload_*' | grep .; }
wait_for 10 "those who went away are done" gone
check "no upload is left" bash -c '! find "$1" -type f -name "*.pdf" -o -type f -name "upload_*" | grep .' bash "$work/tmp"

# --- the Security Layer ---

layer=$bku/bkuonline/http-security-layer-request
space=http://www.buergerkarte.at/namespaces/securitylayer/1.2#
# layer CODE CURL-ARGUMENT...: a schema-valid ErrorResponse of that number, which says in two languages what this is
layer() {
  local code=$1
  shift
  ask 200 "$@" && xmllint --noout --nonet --schema "$mine/error-response.xsd" "$work/answer" && grep -q "<sl:ErrorCode>$code<" "$work/answer" \
    && grep -q 'Platzhalter' "$work/answer" && grep -q 'stand-in' "$work/answer"
}
for command in CreateXMLSignatureRequest CreateCMSSignatureRequest InfoboxReadRequest NullOperationRequest; do
  echo "<?xml version='1.0' encoding='UTF-8'?><sl:$command xmlns:sl='$space'><sl:KeyboxIdentifier>SecureSignatureKeypair &#228;</sl:KeyboxIdentifier></sl:$command>" >"$work/$command.xml"
  check "$command in a form" layer 4011 --data-urlencode "XMLRequest@$work/$command.xml" "$layer"
done
request=$work/CreateXMLSignatureRequest.xml
check "in a form of parts" layer 4011 -F "XMLRequest=<$request" "$layer"
check "as the body" layer 4011 -H 'Content-Type: text/xml' --data-binary @"$request" "$layer"
check "at the folder itself" layer 4011 --data-urlencode "XMLRequest@$request" "$bku/bkuonline/"
check "there in a form of parts" layer 4011 -F "XMLRequest=<$request" "$bku/bkuonline/"
check "over the address that https has" layer 4011 --data-urlencode "XMLRequest@$request" "${layer/http-security/https-security}"
check "no request" layer 2004 -d other=1 "$layer"
check "an empty one" layer 2004 -d XMLRequest= "$layer"
check "a percent sign without digits" layer 2006 -d 'XMLRequest=%4' "$layer"
check "XML that is not well-formed" layer 3001 --data-urlencode 'XMLRequest=<a><b></a>' "$layer"
check "bytes that are no text" layer 3001 -d 'XMLRequest=%ff%fe%00' "$layer"
check "XML of others" layer 3002 --data-urlencode 'XMLRequest=<a/>' "$layer"
check "another version" layer 3005 --data-urlencode "XMLRequest=<CreateXMLSignatureRequest xmlns='${space/1.2#/1.0#}'/>" "$layer"
decoy=$(port)
python3 -m http.server --bind 127.0.0.1 "$decoy" --directory "$mine" >"$work/decoy" 2>&1 &
servers+=($!)
wait_for 10 "a server that nobody shall ask" curl -s -o /dev/null "http://127.0.0.1:$decoy/asked-by-the-test"
echo 'text of a file' >"$work/file" && chmod 644 "$work/file"
check "a file as an entity" layer 3000 --data-urlencode "XMLRequest=<!DOCTYPE a [<!ENTITY e SYSTEM 'file://$work/file'>]><a>&e;</a>" "$layer"
check "the file's text is not in the answer" bash -c '! grep "text of a file" "$1"' bash "$work/answer"
check "an entity of a server" layer 3000 --data-urlencode "XMLRequest=<!DOCTYPE a [<!ENTITY % e SYSTEM 'http://127.0.0.1:$decoy/entity'> %e;]><a/>" "$layer"
check "a DTD of a server" layer 3000 --data-urlencode "XMLRequest=<!DOCTYPE a SYSTEM 'http://127.0.0.1:$decoy/dtd'><a/>" "$layer"
check "a schema of a server" layer 4011 --data-urlencode "XMLRequest=<CreateXMLSignatureRequest xmlns='$space' xmlns:x='http://www.w3.org/2001/XMLSchema-instance' x:schemaLocation='$space http://127.0.0.1:$decoy/schema'/>" "$layer"
not_asked() { grep -q asked-by-the-test "$work/decoy" && ! grep -E 'entity|dtd|schema' "$work/decoy"; }
check "nothing was fetched" not_asked
python3 - "$work/laughs" "$work/nested" "$work/too-much" <<'END'
import sys
names = "abcdefghij"
dtd = "<!ENTITY a 'ha'>" + "".join(f"<!ENTITY {n} '{('&' + names[i] + ';') * 10}'>" for i, n in enumerate(names[1:]))
open(sys.argv[1], "w").write(f"<!DOCTYPE x [{dtd}]><x>&j;</x>")
open(sys.argv[2], "w").write("<a>" * 100000 + "</a>" * 100000)
open(sys.argv[3], "w").write("<a>" + " " * (1 << 20) + "</a>")
END
check "entities in entities" layer 3000 --max-time 5 --data-binary @"$work/laughs" -H 'Content-Type: text/xml' "$layer"
check "elements in elements without end" layer 3000 --max-time 5 --data-binary @"$work/nested" -H 'Content-Type: text/xml' "$layer"
check "more than 1 MB" tells 413 '1 MB' --data-binary @"$work/too-much" -H 'Content-Type: text/xml' "$layer"
check "more than 1 MB of unknown length" tells 413 '1 MB' --data-binary @"$work/too-much" -H 'Content-Type: text/xml' -H 'Transfer-Encoding: chunked' "$layer"
check "more than 1 MB in a form" tells 413 '1 MB' --data-urlencode "XMLRequest@$work/too-much" "$layer"
check "more than 1 MB in a form of parts" tells 413 '1 MB' -F "XMLRequest=<$work/too-much" "$layer"
check "after all that it answers" layer 4011 --data-urlencode "XMLRequest@$request" "$layer"

# --- whom Java trusts ---

tls=$(port)
openssl s_server -accept "127.0.0.1:$tls" -key "$work/tls.key" -cert "$work/tls.pem" -www -quiet >/dev/null 2>&1 &
servers+=($!)
javac -d "$work/fake" "$mine/Bootstrap.java"
mkdir "$work/trust"
# trusts FILE: does what Start runs believe the server when FILE was to be imported?
trusts() {
  IMPORT_CERT=$1 timeout 20 java -cp "$work/root-pdfas/usr/local/tomcat/start:$work/fake" -Dcatalina.base="$work/trust" -Dtest.url="https://localhost:$tls/" appliance.Start >"$work/trusted" 2>&1
}
trusted() { trusts "$work/tls.pem" && grep 'answer 200' "$work/trusted"; }
check "with the appliance's certificate Java believes the appliance" trusted
distrusted() { ! trusts "$work/nothing" && grep SSLHandshakeException "$work/trusted"; }
check "without it does not" distrusted
others_too() { [ "$(keytool -list -keystore "$work/tmp/pdfas/truststore.p12" -storepass '' 2>/dev/null | grep -c trustedCertEntry)" -gt 100 ]; }
check "the distribution's certificates are trusted beside it" others_too
check "a broken certificate was a warning" grep -q 'warning: .*/broken.pem is not trusted' "$work/mocca.log"
stores() {
  local n
  for n in 1 2; do java -cp "$work/root-pdfas/usr/local/tomcat/start" appliance.TrustStore "$work/store-$n" /etc/ssl/certs/ca-certificates.crt || return 1; done
  cmp "$work/store-1" "$work/store-2"
}
check "a store of the same certificates is the same file" stores

# --- memory, and the end ---

# their containers have 640 MiB and 256 MiB; pdfas has 260 MB of that for its /tmp
memory() { awk '/^VmHWM/ {print $2}' "/proc/$1/status"; }
echo "      at most: pdfas $(memory $pdfas) kB, mocca $(memory $mocca) kB"
check "pdfas had at most 380 MB" [ "$(memory $pdfas)" -lt 380000 ]
check "mocca had at most 250 MB" [ "$(memory $mocca)" -lt 250000 ]
check "no error is in the logs" bash -c '! grep -E "SEVERE|^[[:space:]]+at " "$@"' bash "$work/pdfas.log" "$work/mocca.log"
ends() {
  local began=$SECONDS status=0
  kill "$1"
  wait "$1" || status=$?
  [ $status = 143 ] && [ $((SECONDS - began)) -lt 8 ]
}
check "pdfas ends when it is told" ends "$pdfas"
check "mocca ends when it is told" ends "$mocca"
finish_checks
