#!/usr/bin/env bash
# nginx as browsers and the backends see it: https to the three backends, the way from http, what TLS it speaks, and that no
# header the backends trust comes from anyone but nginx.
# label: boot
# timeout: 1200
. "$(dirname "$0")/machine.inc"
. "$(dirname "$0")/web.inc"
at_end=stop_echo

stop_echo
start_echo 5000 5095 5090

for url in "$url4" "$url6"; do
  check "https through nginx reaches the web application: $url" says "port 5000" "$url/some/path?a=b"
done
check "the path and its query arrive as they were" says "GET /some/path?a=b HTTP/1.1" "$url4/some/path?a=b"
check "/pdf-as-web/ reaches pdfas" says "port 5095" "$url4/pdf-as-web/Sign"
check "/bkuonline/ reaches mocca" says "port 5090" "$url4/bkuonline/http"
head -c 105000000 /dev/zero >"$work/upload"
check "an upload of 105 MB arrives whole" says "body 105000000" --data-binary "@$work/upload" "$url4/upload"
rm "$work/upload"
check "one of 400 MB is refused before it is sent" answers 413 -X POST -H "Content-Length: 400000000" -H "Expect:" --http1.1 -d x "$url4/upload"

redirects() { [ "$(curl -s -o /dev/null -w '%{http_code} %{redirect_url}' "$1")" = "301 $2" ]; }
check "http leads to https" redirects "http://$guest4/a?b=c" "https://$guest4/a?b=c"
check "http leads to https on IPv6" redirects "http://[$guest6]/a" "https://[$guest6]/a"

# only where app answers challenges, only plain files, nothing beside
guest sh -c 'install -d -o app -m 0755 /run/appliance-acme && echo token-text >/run/appliance-acme/token && chmod 0644 /run/appliance-acme/token &&
  ln -sf /etc/passwd /run/appliance-acme/link'
check "a challenge is answered by http" says "token-text" "http://$guest4/.well-known/acme-challenge/token"
check "a link among the challenges is not followed" answers 403 "http://$guest4/.well-known/acme-challenge/link"
check "no path leads out of the challenges" answers 301 --path-as-is "http://$guest4/.well-known/acme-challenge/../../etc/passwd"
guest rm -r /run/appliance-acme

tls() { # ARGUMENT...: a session comes about
  openssl s_client -connect "$guest4:443" "$@" </dev/null >"$work/tls" 2>&1 || true
  cat "$work/tls"
  grep -q 'Cipher is [A-Z]' "$work/tls"
}
refuses_tls() { ! tls "$@" && grep -q 'alert protocol version\|alert handshake failure' "$work/tls"; }
check "TLS 1.2 is spoken" tls -tls1_2
check "TLS 1.3 is spoken" tls -tls1_3
check "TLS 1.1 is refused, by the server" refuses_tls -tls1_1 -cipher 'ALL:@SECLEVEL=0'
check "TLS 1.0 is refused, by the server" refuses_tls -tls1 -cipher 'ALL:@SECLEVEL=0'
check "a cipher without forward secrecy is refused" refuses_tls -tls1_2 -cipher AES128-GCM-SHA256
http2() { [ "$(ask -o /dev/null -w '%{http_version}' --http2 "$url4/")" = 2 ]; }
check "HTTP/2 is spoken" http2

ask -D "$work/headers" -o /dev/null -H 'Accept-Encoding: gzip' "$url4/"
hsts() { [ "$(grep -ci '^strict-transport-security: max-age=31536000' "$work/headers")" = 1 ]; }
check "HSTS is sent, once" hsts
check "nginx does not tell its version" grep -qix $'server: nginx\r' "$work/headers"
check "pages are not compressed" lacks content-encoding "$work/headers"

# forged: every name in forms that a backend could take for the trusted one, once and twice
cat >"$work/forged" <<'END'
X-Ssl-Client-Verify
X-Ssl-Client-Serial
X-Ssl-Client-DN
X-Ssl-Client-Cert
X_Ssl_Client_Verify
X_SSL_CLIENT_SERIAL
X-SSL_Client-Verify
X-Forwarded-For
X-Forwarded-Proto
X-Forwarded-Host
X-Forwarded-Port
X-Forwarded-Server
X-Forwarded-User
X_Forwarded_For
X-Real-IP
X_Real_IP
X-Appliance-Secret
X_Appliance_Secret
Forwarded
Proxy
Remote-User
END
forge() { # PATH CURL-ARGUMENT...: a request with all of them; what the backend saw in $work/seen
  local path=$1 name arguments=()
  shift
  while read -r name; do
    arguments+=(-H "$name: forged-$name" -H "$name: forged-again")
  done <"$work/forged"
  ask "${arguments[@]}" "$@" "$url4$path" >"$work/seen" || return 1
  cat "$work/seen"
  grep -q '^port ' "$work/seen"
}
nothing_forged() { forge "$@" && ! grep -qi forged "$work/seen"; }
for version in --http1.1 --http2; do
  for path in / /pdf-as-web/x /bkuonline/x; do
    check "of 21 forged headers, each sent twice, none reaches the backend: $path $version" nothing_forged $path $version
  done
done
seen_once() { [ "$(grep -ci "^$1: " "$work/seen")" = 1 ] && grep -qix "$1: $2" "$work/seen"; }
forge / --http1.1 >/dev/null
cp "$work/seen" "$work/seen.web"
check "X-Real-IP is the peer's address" seen_once X-Real-IP "$host4"
check "X-Forwarded-For is the peer's address alone" seen_once X-Forwarded-For "$host4"
check "X-Forwarded-Proto is https" seen_once X-Forwarded-Proto https
check "X-Forwarded-Host is the host asked for" seen_once X-Forwarded-Host "$guest4"
check "X-Ssl-Client-Verify is nginx's own" seen_once X-Ssl-Client-Verify NONE
serial_absent() { ! grep -qi '^X-Ssl-Client-Serial' "$work/seen"; }
check "without a certificate there is no serial" serial_absent
# smuggled in the name: spaces and such make nginx drop the header or refuse the request
raw() { printf 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n\r\n' "$1" | timeout 10 openssl s_client -quiet -connect "$guest4:443" 2>/dev/null >"$work/seen" || true; ! grep -qi forged "$work/seen"; }
check "nor with a space before the colon" raw 'X-Real-IP : forged'
check "nor folded over lines" raw 'Accept: a\r\n X-Real-IP: forged'
check "nor as a second host" raw 'Host: forged'
check "what the application needs does pass" says "X-CSRFToken: abc" -H "X-CSRFToken: abc" "$url4/"
check "cookies do pass" says "Cookie: a=1; b=2" -H "Cookie: a=1; b=2" "$url4/"

# the secret between nginx and the web application
secret=$(guest sed -n 's/^APPLIANCE_PROXY_SECRET=//p' /app/etc/proxy_secret.env)
cp "$work/seen.web" "$work/seen"
secret_arrives() { [ ${#secret} = 64 ] && [ "$(grep -c "^X-Appliance-Secret: $secret$" "$work/seen")" = 1 ]; }
check "the web application gets the machine's secret, once" secret_arrives
others_lack_it() { ! ask "$url4/pdf-as-web/" "$url4/bkuonline/" | grep -qi appliance-secret; }
check "pdfas and mocca do not" others_lack_it
mode() { [ "$(guest stat -L -c '%a %U' "$1")" = "$2" ]; }
check "the secret's file is 0600 root" mode /app/etc/proxy_secret.env "600 root"
check "nginx' copy is 0600 root" mode /run/appliance/nginx/secret.conf "600 root"
check "the folder of what nginx reads is root's alone" mode /run/appliance/nginx/ "700 root"
check "the certificate's key is 0600 root" mode /app/etc/server.key.pem "600 root"
nobody_reads() { ! guest setpriv --reuid=33 --regid=33 --clear-groups cat "$1"; }
check "a worker's user cannot read the secret" nobody_reads /run/appliance/nginx/secret.conf
not_in_etc() { ! guest grep -rqF "$secret" /etc; }
check "no file in /etc holds it" not_in_etc

# a broken pair on /data does not stop nginx
guest sh -c 'cp -p /data/etc/server.key.pem /data/etc/test.key; echo rubbish >/data/etc/server.key.pem'
check "nginx reloads over a broken key" guest systemctl reload nginx
check "and answers" answers 200 "$url4/"
check "nginx starts over a broken key, with nothing in /run" guest sh -c 'systemctl stop nginx; rm -rf /run/appliance/nginx /run/appliance/nginx-*; systemctl start nginx'
check "and answers again" answers 200 "$url4/"
guest sh -c 'mv /data/etc/test.key /data/etc/server.key.pem; systemctl reload nginx'

quick() { ! seq 400 | sed "s|.*|url = $url4/\noutput = /dev/null|" | curl -sk --max-time 60 -K - -w '%{http_code}\n' | grep -qv '^200'; }
check "400 requests in a row are all answered" quick

finish_checks
