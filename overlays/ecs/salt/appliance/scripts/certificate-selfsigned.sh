#!/bin/sh
# Makes a self-signed certificate and its key where either is missing, so that nginx can answer by https from the first boot.
# A pair that is there is left alone, whoever made it. An image carries none: each machine has its own.
# usage: certificate-selfsigned.sh [FOLDER]; default /app/etc, files server.key.pem (0600) and server.cert.pem
set -eu
umask 077

folder=${1:-/app/etc}
key=$folder/server.key.pem
cert=$folder/server.cert.pem
[ -s "$key" ] && [ -s "$cert" ] && exit 0

name=$(hostname -f 2>/dev/null) || name=$(hostname)
# the common name holds 64 characters at most
[ -n "$name" ] && [ ${#name} -le 64 ] || name=localhost

work=$(mktemp -d "$folder/.certificate.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/request.conf" <<END
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
[subject]
CN = $name
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = DNS:$name,DNS:localhost
END
openssl ecparam -name prime256v1 -genkey -noout -out "$work/key"
openssl req -x509 -new -sha256 -days 3650 -config "$work/request.conf" -key "$work/key" -out "$work/cert"
chmod 0644 "$work/cert"
# the old certificate goes first: a pair that does not match must not survive a power cut
rm -f "$cert"
sync
mv "$work/key" "$key"
sync
mv "$work/cert" "$cert"
sync
echo "made $cert for $name"
