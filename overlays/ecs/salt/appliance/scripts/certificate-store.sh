#!/bin/sh
# Keeps server.key.pem (0600) and server.cert.pem in /app/etc a pair, whenever the power goes. A new pair waits, whole and synced, in
# /app/etc/.certificate before its first file moves; what a power cut left there is moved on at boot.
#
# The files are replaced, not written in place: a full disk cannot spoil them. A container that has the certificate mounted sees
# the old file until it is restarted; certificate-users.sh does that, as its Java reads the file only at its start anyway.
#
# usage: certificate-store.sh                              at boot: finishes a change; makes a self-signed pair where there is none
#        certificate-store.sh put ORIGIN KEY CERT [NAME]   proves key and certificate chain (of NAME) and puts them in place;
#                                                          1: they are refused, and nothing has changed
# /app/etc/server.origin tells whose the pair is: own (of the environment), letsencrypt or selfsigned
set -eu
umask 077
# shellcheck source=certificate.include
. /usr/local/share/appliance/certificate.include
folder=/data/etc
pending=$folder/.certificate

finish() {
  if [ -d $pending ]; then
    for file in server.key.pem server.cert.pem server.origin; do
      [ ! -e $pending/$file ] || mv $pending/$file $folder/$file
    done
    sync
    rm -rf $pending
  fi
}

put() { # ORIGIN KEY CERT [NAME]
  work=$(mktemp -d $folder/.certificate.XXXXXX)
  trap 'rm -rf "$work"' EXIT
  # written anew by openssl, so that nothing but key and certificates gets in
  openssl pkey -passin pass: -in "$2" -out "$work/server.key.pem" 2>/dev/null </dev/null || { echo "$1: the key cannot be read" >&2; return 1; }
  openssl crl2pkcs7 -nocrl -certfile "$3" 2>/dev/null | openssl pkcs7 -print_certs 2>/dev/null |
    sed -n '/^-----BEGIN CERTIFICATE-----$/,/^-----END CERTIFICATE-----$/p' >"$work/server.cert.pem"
  pair_matches "$work/server.key.pem" "$work/server.cert.pem" || { echo "$1: key and certificate do not belong together" >&2; return 1; }
  openssl x509 -in "$work/server.cert.pem" -noout -checkend 0 >/dev/null || { echo "$1: the certificate has expired" >&2; return 1; }
  [ -z "${4-}" ] || covers "$work/server.cert.pem" "$4" || { echo "$1: the certificate is not for $4" >&2; return 1; }
  echo "$1" >"$work/server.origin"
  chmod 0644 "$work/server.cert.pem" "$work/server.origin"
  if cmp -s "$work/server.key.pem" $folder/server.key.pem && cmp -s "$work/server.cert.pem" $folder/server.cert.pem &&
    cmp -s "$work/server.origin" $folder/server.origin; then
    return 0
  fi
  sync
  mv "$work" $pending
  sync
  finish
  echo "$1: the certificate is in use, $(openssl x509 -in $folder/server.cert.pem -noout -serial -enddate | tr '\n' ' ')"
}

# of a kill before the pair was whole
rm -rf $folder/.certificate.??????
finish
if [ "${1-}" = put ]; then
  shift
  put "$@"
  exit
fi
if ! pair_matches $folder/server.key.pem $folder/server.cert.pem; then
  made=$(mktemp -d)
  /usr/local/share/appliance/certificate-selfsigned.sh "$made"
  put selfsigned "$made/server.key.pem" "$made/server.cert.pem"
  rm -rf "$made"
fi
# at boot: who starts from now on reads this pair
install -d -m 0755 /run/appliance
[ -e /run/appliance/certificate.told ] || sha256sum <$folder/server.cert.pem >/run/appliance/certificate.told
