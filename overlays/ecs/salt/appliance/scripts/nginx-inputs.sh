#!/bin/sh
# Proves what nginx reads besides its configuration and copies it to /run/appliance/nginx, for root alone. nginx reads these copies
# only: a half-written, broken or missing file on /data is told, and neither stops nginx nor is taken over.
#
#   server.key.pem, server.cert.pem  of /app/etc; without a pair there the one in use, else one made on the spot
#   secret.conf                      X-Appliance-Secret, by which the web application knows nginx; the same secret is in
#                                    /app/etc/proxy_secret.env (0600), made here at the first start
#   ca.pem, crl.pem, client.conf     client certificates: /data/ecs-ca/ca.cert.pem and crl.pem, which the application writes. Both
#                                    or none: without a CRL nobody knows who is revoked. The last good ones are in /data/etc/client-ca
#
# usage: nginx-inputs.sh           before nginx starts. 0: nginx can go on; 1: it cannot, with any input
#        nginx-inputs.sh --reload  the same, then nginx reads them; what it read holds for each connection from then on
#        nginx-inputs.sh --watch   by path unit and timer: reloads nginx when the CA or its CRL is another; names an expired CRL
set -eu
umask 077
# shellcheck source=certificate.include
. /usr/local/share/appliance/certificate.include
run=/run/appliance
live=$run/nginx
kept=/data/etc/client-ca
source=/data/ecs-ca
remembered=/data/etc/client-certs-mandatory
secret_file=/app/etc/proxy_secret.env
environment=/run/active-env.yml

notice() { /usr/local/sbin/appliance-status --notice "$@"; }

stamp() { # tells whether the application wrote since
  stat -c '%n %i %s %y %z' "$source/ca.cert.pem" "$source/crl.pem" 2>/dev/null || true
}

expiry() { # an expired CRL makes nginx refuse every client certificate
  text=
  if [ -e "$live/crl.pem" ]; then
    until=$(openssl crl -in "$live/crl.pem" -noout -nextupdate)
    until=${until#nextUpdate=}
    if seconds=$(date -d "$until" +%s 2>/dev/null) && [ "$seconds" -le "$(date +%s)" ]; then
      text="The revocation list of the client certificates has expired ($until). No client certificate is accepted until the ECS writes a new one."
    elif ! openssl x509 -in "$live/ca.pem" -noout -checkend 0 >/dev/null; then
      text="The authority of the client certificates has expired. No client certificate is accepted until the ECS has a new one."
    fi
  fi
  if [ -n "$text" ] && [ ! -e $run/notices.d/client-crl.txt ]; then echo "$text" >&2; fi
  notice client-crl "$text"
}

if [ "${1-}" = --again ]; then
  [ "$(stamp)" = "$(cat $live/stamp)" ] || systemctl start appliance-client-ca.service
  exit 0
fi
if [ "${1-}" = --watch ]; then
  systemctl is-active -q nginx || exit 0
  # the path unit sees nothing while this runs, so stay until all is quiet: the application may write one file after the other
  seen=none quiet=0 changed=false
  while [ $quiet -lt 5 ]; do
    now=$(stamp)
    if [ "$now" != "$seen" ]; then
      seen=$now quiet=0
    elif [ "$now" != "$(cat $live/stamp)" ]; then
      echo "the CA of client certificates or its CRL is another: reloading nginx"
      systemctl reload nginx
      quiet=0 changed=true
    else
      quiet=$((quiet + 1))
    fi
    sleep 0.3
  done
  # and look once more when it sees again, for what was written in the moment between
  if [ $changed = true ]; then
    systemd-run --on-active=2 --timer-property=AccuracySec=500ms "$0" --again
  fi
  expiry
  exit 0
fi

usable() { # FOLDER: holds a CA, and a CRL that this CA signed
  [ -s "$1/ca.pem" ] && [ -s "$1/crl.pem" ] && openssl x509 -in "$1/ca.pem" -noout 2>/dev/null &&
    openssl crl -in "$1/crl.pem" -CAfile "$1/ca.pem" -noout 2>&1 | grep -q '^verify OK'
}

install -d -m 0755 $run
old=$(readlink $live || true)
for left in "$run"/nginx-*; do
  [ "$left" = "$old" ] || rm -rf "$left"
done
new=$(mktemp -d $run/nginx-XXXXXX)
trap 'rm -rf "$new"' EXIT
stamp >"$new/stamp"

# the server's own pair
for from in /app/etc $live; do
  cat "$from/server.key.pem" >"$new/server.key.pem" 2>/dev/null &&
    cat "$from/server.cert.pem" >"$new/server.cert.pem" 2>/dev/null &&
    pair_matches "$new/server.key.pem" "$new/server.cert.pem" && break
  echo "no key and certificate that belong together in $from" >&2
  rm -f "$new/server.key.pem" "$new/server.cert.pem"
done
[ -e "$new/server.cert.pem" ] || /usr/local/share/appliance/certificate-selfsigned.sh "$new"

# the secret between nginx and the web application
get_secret() { sed -n 's/^APPLIANCE_PROXY_SECRET=\([0-9a-f]\{64\}\)$/\1/p' $secret_file 2>/dev/null || true; }
secret=$(get_secret)
if [ -z "$secret" ]; then
  secret=$(openssl rand -hex 32)
  if printf 'APPLIANCE_PROXY_SECRET=%s\n' "$secret" >$secret_file.new && sync && mv $secret_file.new $secret_file; then
    echo "made $secret_file"
  else
    echo "could not write $secret_file: the web application will not believe nginx" >&2
  fi
fi
printf 'proxy_set_header X-Appliance-Secret "%s";\n' "$secret" >"$new/secret.conf"

# the authority of client certificates
# before the environment was found what the last one said holds: an appliance that asks for certificates does so from its
# first second on
mandatory=$(cat $remembered 2>/dev/null || echo false)
if [ -e $environment ]; then
  # an environment that cannot be read opens no door
  mandatory=$(
    values=$(flatyaml appliance $environment 2>/dev/null) || [ -n "$values" ] || exit 1
    eval "$values"
    echo "${APPLIANCE_SSL_CLIENT_CERTS_MANDATORY:-false}"
  ) || {
    echo "$environment cannot be read: client certificates are taken for mandatory" >&2
    mandatory=true
  }
  [ "$mandatory" = "$(cat $remembered 2>/dev/null)" ] || { echo "$mandatory" >$remembered.new && mv $remembered.new $remembered; } ||
    echo "could not write $remembered" >&2
fi
mkdir "$new/fresh"
wanted=false text=
if [ -e $source/ca.cert.pem ] || [ -L $source/ca.cert.pem ]; then
  wanted=true
  read_as_app $source/ca.cert.pem >"$new/fresh/ca.pem" || true
  read_as_app $source/crl.pem >"$new/fresh/crl.pem" || true
fi

client_conf() { # FOLDER or nothing: what nginx is told about client certificates
  rm -f "$new/ca.pem" "$new/crl.pem"
  if [ -n "$1" ]; then
    cp "$1/ca.pem" "$1/crl.pem" "$new"
    echo "ssl_client_certificate $live/ca.pem;"
    echo "ssl_crl $live/crl.pem;"
    # who shows a wrong certificate is refused in any case; who shows none is a matter of the gate
    echo "ssl_verify_client optional;"
    echo "ssl_verify_depth 2;"
  fi
  if [ "$mandatory" != true ]; then
    echo "set \$client_certs optional;"
  elif [ -n "$1" ]; then
    echo "set \$client_certs mandatory;"
  else
    echo "set \$client_certs no-authority;"
  fi
}

use() { # FOLDER: the link to what nginx reads leads there
  ln -s "$1" "$live.link"
  mv -T "$live.link" $live
}

rm -f "$live.link"
taken=
for from in "$new/fresh" "$old" $kept none; do
  if [ "$from" = none ]; then
    client_conf '' >"$new/client.conf"
  elif [ $wanted = true ] && [ -n "$from" ] && usable "$from"; then
    client_conf "$from" >"$new/client.conf"
  else
    continue
  fi
  use "$new"
  if nginx -t -q; then
    taken=$from
    break
  fi
done
if [ -z "$taken" ]; then
  [ -z "$old" ] || use "$old"
  [ -n "$old" ] || rm -f $live
  echo "nginx refuses its configuration, whatever its inputs" >&2
  exit 1
fi
trap - EXIT
[ -z "$old" ] || rm -rf "$old"

case $taken in
  "$new/fresh")
    if ! cmp -s "$new/ca.pem" $kept/ca.pem || ! cmp -s "$new/crl.pem" $kept/crl.pem; then
      echo "client certificates are verified against another CA or CRL from now on"
      # a copy that was cut short is not usable, then the next is looked for
      install -d -m 0700 $kept && cp "$new/ca.pem" "$new/crl.pem" $kept || echo "could not keep a copy in $kept" >&2
    fi
    ;;
  none)
    if [ $wanted = true ]; then
      text="The authority of the client certificates, or its revocation list, cannot be read. No client certificate is accepted until the ECS writes both again."
    else
      rm -rf $kept
      [ "$mandatory" != true ] ||
        text="This site asks for client certificates, but the ECS has no authority for them yet."
    fi
    ;;
  *)
    text="The authority of the client certificates, or its revocation list, was written but cannot be read. The one before stays in force."
    ;;
esac
rm -rf "$new/fresh"
[ -z "$text" ] || echo "$text" >&2
notice client-ca "$text"
expiry

if [ "${1-}" = --reload ]; then
  workers=$(cat "/proc/$MAINPID/task/$MAINPID/children" 2>/dev/null || true)
  nginx -s reload
  # a worker of before takes connections until its name says that it is on its way out
  rounds=0
  for worker in $workers; do
    while [ $rounds -lt 50 ] && { tr '\0' '\n' <"/proc/$worker/cmdline"; } 2>/dev/null | grep -q '^nginx: worker process$'; do
      rounds=$((rounds + 1))
      sleep 0.1
    done
  done
fi
