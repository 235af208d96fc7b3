#!/bin/sh
# Started next: what the services of the host need of the environment. Storage, then the highstate if it was made from another
# environment or tree, then each program in prepare.d, which the parts of the appliance lay down.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include

# KiB that have to be free where the appliance writes
room=102400

# room_on FOLDER
room_on() {
  free=$(df -Pk "$1" | awk 'NR == 2 {print $4}')
  inodes=$(df -Pi "$1" | awk 'NR == 2 {print $4}')
  [ "$free" -ge $room ] || die "$1 is full: $((free / 1024)) MiB are free, $((room / 1024)) are needed."
  # a file system without a fixed number of inodes says 0 or -
  [ "$inodes" = - ] || [ "$(df -Pi "$1" | awk 'NR == 2 {print $2}')" = 0 ] || [ "$inodes" -ge 1000 ] ||
    die "$1 is full: $inodes files more are possible."
}

# it has failed at boot, or holds: nothing is to be written beside disks that are missing
systemctl -q is-active appliance-storage.service ||
  die "$(cat "$run/reason.appliance-storage" 2>/dev/null || echo 'The disks are not there: journalctl -u appliance-storage')"
[ ! -e "$restore_running" ] ||
  die 'A restore was interrupted, so files and database are of different times: appliance-restore.sh --replace, then it starts.'
run_hooks prepare-appliance.early

load_env APPLIANCE_DOMAIN APPLIANCE_SENTRY_DSN
# the disks were looked at before any service, with the environment that was at hand then
if ! "$share/storage.sh" settled; then
  progress 'Looking at the disks.'
  salt-call --local --no-color --retcode-passthrough --log-level=warning state.sls appliance.storage.setup ||
    die 'The disks could not be set up as the environment says: journalctl -u prepare-appliance'
fi
room_on /data
room_on /volatile
# what somebody has wiped since the boot: docker would make it in its own name
systemd-tmpfiles --create /etc/tmpfiles.d/appliance.conf || echo 'some of the folders could not be made' >&2

take_turn
# a power cut in the middle of an update: back to the tree that worked
[ ! -e "$update_running" ] || put_tree_back || die 'The state tree of before the update could not be put back: journalctl -u prepare-appliance'
if [ "$(cat "$applied" 2>/dev/null)" != "$(wanted_state)" ]; then
  progress 'Setting up the services for this environment.'
  highstate || die 'The services could not be set up for this environment: journalctl -u prepare-appliance'
fi
end_turn

progress 'Preparing the services.'
for program in "$share"/prepare.d/*; do
  [ -x "$program" ] || continue
  "$program" || die "The service could not be prepared: ${program##*/}"
done

# one that could not be had is told by the page and tried again by the update; the old one serves on
[ ! -x "$share/appliance-certificate-renew.sh" ] || "$share/appliance-certificate-renew.sh" ||
  echo 'the certificate is not the one that the environment asks for' >&2

# ---- what the containers are given

# compose's files of variables; links are made under these names
write_private "$etc/service_urls.env" <<END
REDIS_URL=redis://redis:6379/0
MEMCACHED_URL=memcached://memcached:11211
SMTP_URL=smtp://172.17.0.1:25
PDFAS_URL=http://pdfas:8080/pdf-as-web/
MOCCA_URL=http://mocca:8080/bkuonline/
END

# in quotes a line break is one, and only \ and " need a backslash
quoted() { printf '"%s"\n' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }
load_env ECS_SETTINGS ECS_USERSWITCHER_ENABLED
{
  printf 'APPLIANCE_DOMAIN='; quoted "$APPLIANCE_DOMAIN"
  printf 'ECS_SETTINGS='; quoted "$ECS_SETTINGS"
  printf 'ECS_USERSWITCHER_ENABLED='; quoted "${ECS_USERSWITCHER_ENABLED:-false}"
  printf 'SENTRY_DSN='; quoted "$APPLIANCE_SENTRY_DSN"
} | write_private "$settings_env"

run_hooks prepare-appliance.late
