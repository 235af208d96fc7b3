#!/bin/sh
# Tells all who use the machine's certificate that it is another: nginx and stunnel read it again, and each container that has
# it mounted starts again. Does nothing when they know already. 0: all know; 1: somebody does not, and is told next time
set -eu
umask 077
cert=/app/etc/server.cert.pem
told=/run/appliance/certificate.told
now=$(sha256sum <$cert)
[ "$now" != "$(cat $told 2>/dev/null)" ] || exit 0
failed=0

if systemctl is-active -q nginx; then
  systemctl reload nginx || failed=1
fi

# stunnel has given up the rights to read the key, so it starts again; who sends mail tries again
for unit in $(systemctl list-units --plain --no-legend --state=active '*stunnel*.service' | awk '{print $1}'); do
  systemctl try-restart "$unit" || failed=1
done

# docker's socket would start a docker that is down
if systemctl is-active -q docker; then
  for container in $(docker ps -q --filter volume=/app/import/server.cert.pem); do
    docker restart "$container" >/dev/null || failed=1
  done
fi
[ $failed = 0 ] || exit 1
echo "$now" >$told
