#!/bin/sh
# Makes a self-signed certificate and its key in a folder where neither is: nginx answers by https from the first boot, and Let's
# Encrypt may fail. An image carries none: each machine has its own.
# usage: certificate-selfsigned.sh FOLDER [NAME]; files server.key.pem (0600) and server.cert.pem, NAME is by default the host's
set -eu
umask 077

folder=$1
name=${2-}
[ -n "$name" ] || name=$(hostname -f 2>/dev/null) || name=$(hostname)
# the common name holds 64 characters at most
[ -n "$name" ] && [ ${#name} -le 64 ] || name=localhost

cat >"$folder/request.conf" <<END
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
openssl ecparam -name prime256v1 -genkey -noout -out "$folder/server.key.pem"
openssl req -x509 -new -sha256 -days 3650 -config "$folder/request.conf" -key "$folder/server.key.pem" -out "$folder/server.cert.pem"
rm "$folder/request.conf"
echo "made a self-signed certificate for $name"
