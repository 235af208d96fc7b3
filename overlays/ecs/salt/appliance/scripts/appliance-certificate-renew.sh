#!/bin/sh
# Sees to the certificate that the environment asks for. Called by prepare-appliance and by the update; may be called at any time.
#
#   appliance.ssl.key and cert          the operator's own, wins over both others
#   appliance.ssl.letsencrypt.enabled   Let's Encrypt, for appliance.domain and the public names of allowed_hosts; asked only when
#                                       there is no certificate yet, it is for other names, or runs out within 30 days
#   else                                self-signed; one of Let's Encrypt stays while it is valid
#
# Then nginx reads its inputs again (mandatory client certificates are of the environment too), and all users of a new certificate
# are told.
# usage: appliance-certificate-renew.sh [--force]   --force, or /app/etc/flags/force.update.letsencrypt, renews one that is not due
# 0: what the environment asks for is in place and in use; 1: it is not, standard error says why, and what was there stays
set -eu
umask 077
# shellcheck source=certificate.include
. /usr/local/share/appliance/certificate.include
store=/usr/local/share/appliance/certificate-store.sh
environment=/run/active-env.yml
flag=/app/etc/flags/force.update.letsencrypt
cert=/app/etc/server.cert.pem
key=/app/etc/server.key.pem
status=0

if [ ! -e $environment ]; then
  echo "no environment is active: the certificate stays as it is" >&2
  exit 0
fi
exec 9>/run/appliance/certificate.lock
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work" /run/appliance/order.force' EXIT
values=$(flatyaml appliance $environment) || [ -n "$values" ] || exit 1
eval "$values"
domain=$(echo "${APPLIANCE_DOMAIN-}" | tr '[:upper:]' '[:lower:]')
force=false
if [ "${1-}" = --force ] || [ -e $flag ]; then force=true; fi

# a disk that moved in since the boot may hold no pair, or half a change
$store || status=1

# the domain, then what else of allowed_hosts can be a public name: no wildcard, no address, no bare name
names() {
  {
    echo "$domain"
    echo "${APPLIANCE_ALLOWED_HOSTS-}" | tr ', ' '\n'
    number=0
    while [ $number -lt "${APPLIANCE_ALLOWED_HOSTS_LEN-0}" ]; do
      eval "echo \"\$APPLIANCE_ALLOWED_HOSTS_$number\""
      number=$((number + 1))
    done
  } | tr '[:upper:]' '[:lower:]' | grep -E '^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$' | awk '!seen[$0]++'
}

due() { # names on standard input: the certificate in use is not of Let's Encrypt, or for other names, or runs out
  [ "$(cat /app/etc/server.origin 2>/dev/null)" = letsencrypt ] || return 0
  openssl x509 -in $cert -noout -checkend 2592000 >/dev/null || return 0
  openssl x509 -in $cert -noout -text | grep -o 'DNS:[^, ]*' | sed 's/^DNS://' | sort >"$work/has"
  sort | cmp -s - "$work/has" || return 0
  return 1
}

letsencrypt() {
  names >"$work/names"
  if [ "$(head -n 1 "$work/names")" != "$domain" ]; then
    echo "letsencrypt: '$domain' is no public name" >&2
    return 1
  fi
  if [ $force = false ] && ! due <"$work/names"; then return 0; fi
  install -d -m 0700 -o app -g app /data/etc/dehydrated
  tr '\n' ' ' <"$work/names" >/run/appliance/domains.txt
  chmod 0644 /run/appliance/domains.txt
  if [ $force = true ]; then touch /run/appliance/order.force; fi
  if ! systemctl start appliance-dehydrated.service; then
    echo "letsencrypt: no certificate; the reason is in: journalctl -u appliance-dehydrated" >&2
    return 1
  fi
  read_as_app "/data/etc/dehydrated/certs/$domain/privkey.pem" >"$work/key" &&
    read_as_app "/data/etc/dehydrated/certs/$domain/fullchain.pem" >"$work/cert" &&
    $store put letsencrypt "$work/key" "$work/cert" "$domain" || return 1
  rm -f $flag
}

selfsigned() {
  origin=$(cat /app/etc/server.origin 2>/dev/null) || origin=
  if [ "$origin" = letsencrypt ] && openssl x509 -in $cert -noout -checkend 0 >/dev/null; then return 0; fi
  if [ "$origin" = selfsigned ] && openssl x509 -in $cert -noout -checkend 2592000 >/dev/null && pair_matches $key $cert; then
    # a name that is too long for a certificate's common name is not in it either
    [ -n "$domain" ] && [ ${#domain} -le 64 ] && ! covers $cert "$domain" || return 0
  fi
  mkdir "$work/made"
  /usr/local/share/appliance/certificate-selfsigned.sh "$work/made" "$domain"
  $store put selfsigned "$work/made/server.key.pem" "$work/made/server.cert.pem"
}

if [ -n "${APPLIANCE_SSL_KEY-}${APPLIANCE_SSL_CERT-}" ]; then
  printf '%s\n' "${APPLIANCE_SSL_KEY-}" >"$work/key"
  printf '%s\n' "${APPLIANCE_SSL_CERT-}" >"$work/cert"
  $store put own "$work/key" "$work/cert" || status=1
elif [ "${APPLIANCE_SSL_LETSENCRYPT_ENABLED-}" = true ]; then
  letsencrypt || status=1
else
  selfsigned || status=1
fi

# /data may be another file system than at boot: then the path unit has to look there
systemctl try-restart appliance-client-ca.path || status=1
if systemctl is-active -q nginx; then
  systemctl reload nginx || status=1
fi
/usr/local/share/appliance/certificate-users.sh || status=1
exit $status
