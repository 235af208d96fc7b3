#!/bin/sh
# Writes what stunnel runs by: its configuration, bound to the uplink addresses of this moment, and copies of the machine's
# certificate and key that its user may read. A file that says the same already is left alone.
# Exit status: 0 done, nothing changed; 3 something changed; 4 there is no uplink address
# usage: stunnel-config.sh [--quiet]    --quiet: 0 also when something changed
set -eu
umask 077
folder=/run/appliance-stunnel
changed=0

# Addresses of the uplinks, one a line. Not those of containers' bridges and links; not link-local ones, which nobody's MX
# names; not those that are not usable yet, or that IPv6 privacy makes and drops again.
addresses() {
  ip -o address show up scope global |
    awk '$2 !~ /^(lo|docker|veth|br-)/ && !/ (tentative|dadfailed|temporary)/ { sub(/\/.*/, "", $4); print $4 }' | sort -u
}

render() { # ADDRESS...
  cat /usr/local/share/appliance/stunnel.conf
  for address; do
    printf '\n[smtp-%s]\naccept = %s:25\nconnect = 127.0.0.1:5025\nprotocol = smtp\n' "$address" "$address"
    printf '\n[smtps-%s]\naccept = %s:465\nconnect = 127.0.0.1:5025\n' "$address" "$address"
  done
}

# take FILE: puts FILE.new in its place, if it says something else
take() {
  if cmp -s "$1.new" "$1"; then
    rm "$1.new"
  else
    chown stunnel4: "$1.new"
    mv "$1.new" "$1"
    changed=1
  fi
}

uplinks=$(addresses)
[ -n "$uplinks" ] || exit 4
install -d -m 0755 "$folder"
# shellcheck disable=SC2086 # an address a word
render $uplinks >"$folder/stunnel.conf.new"
cat /app/etc/server.cert.pem >"$folder/cert.pem.new"
cat /app/etc/server.key.pem >"$folder/key.pem.new"
for file in stunnel.conf cert.pem key.pem; do take "$folder/$file"; done

[ "$changed" = 0 ] || [ "${1-}" = --quiet ] || exit 3
