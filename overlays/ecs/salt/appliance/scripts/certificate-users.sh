#!/bin/sh
# Tells all who use the machine's certificate that it is another: nginx and stunnel read it again, and each container that has
# it mounted starts again, for its Java reads the file only then. Does nothing when they know already.
# 0: all know; 1: somebody does not, and is told next time
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

if systemctl is-active -q appliance-stunnel; then
  systemctl reload-or-restart appliance-stunnel || failed=1
fi

# Containers: not when something starts them anyway, as the update does after the renewal; nor in an appliance that has failed or
# is on standby, where nothing is restarted; and docker's socket would start a docker that is down.
case $(systemctl is-active appliance-update.service) in
  active | activating) restarted=yes ;;
  *) restarted= ;;
esac
if [ -z "$restarted" ] && [ ! -e /run/appliance-failed ] && [ ! -e /run/appliance-standby ] && systemctl is-active -q docker; then
  for container in $(docker ps -q --filter volume=/app/import/server.cert.pem); do
    docker restart "$container" >/dev/null || failed=1
  done
fi
[ $failed = 0 ] || exit 1
echo "$now" >$told
