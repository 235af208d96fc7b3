#!/bin/sh
# Orders or renews the certificate for the names in /run/appliance/domains.txt by dehydrated. Runs as app in
# appliance-dehydrated.service, never as root. appliance-certificate-renew.sh starts it and looks at what came out.
# 0: there is a certificate that is not due; else what dehydrated says
set -eu
umask 077
config=/usr/local/share/appliance/dehydrated.conf
base=/data/etc/dehydrated
force=
[ ! -e /run/appliance/order.force ] || force=--force
command -v dehydrated >/dev/null || { echo "dehydrated is not installed" >&2; exit 1; }

# an account whose registration was cut short: dehydrated would take the key for a registered one
for key in "$base"/accounts/*/account_key.pem; do
  if [ -e "$key" ] && [ ! -s "${key%/*}/registration_info.json" ]; then rm -r "${key%/*}"; fi
done

# A server may refuse a nonce at any request and wants to be asked again; dehydrated gives up then, so it starts from the front.
# A server that has forgotten the account gets a new one.
round=1
while :; do
  # shellcheck disable=SC2086
  if { dehydrated --config $config --register --accept-terms && dehydrated --config $config --cron $force; } >/tmp/order 2>&1; then
    cat /tmp/order
    dehydrated --config $config --cleanup-delete || true
    exit 0
  fi
  cat /tmp/order >&2
  if grep -q 'acme:error:badNonce' /tmp/order; then
    echo "the nonce was refused in round $round"
  elif grep -q 'acme:error:accountDoesNotExist' /tmp/order; then
    echo "the account is not known there any more"
    rm -rf "$base/accounts"
  else
    exit 1
  fi
  [ $round -lt 20 ] || exit 1
  round=$((round + 1))
  sleep 1
done
