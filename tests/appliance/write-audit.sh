#!/usr/bin/env bash
# What an appliance writes while it lives: nothing outside /data, /volatile, /run, /tmp, /var/log and the paths below, each with its
# reason. Two reboots, 50 mails, a renewal, an update, a backup, a rotation of logs, a day.
# shellcheck disable=SC2016
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$here/stand-in.inc"
# shellcheck source=acme.inc
. "$here/acme.inc"

sink_pid=''
leave() {
  stop_acme
  mirrors_back
  [ -z "$sink_pid" ] || kill "$sink_pid"
  guest rm -f /etc/dehydrated/conf.d/90-test.sh /etc/dehydrated/test-ca.pem
}
at_end=leave

# path as an extended expression, a blank, why it may be written
allowed=(
  '/var/tmp/.* like /tmp, across reboots'
  '/var/lib/appliance/applied the digest of what the last highstate was made from, written by each'
  '/var/lib/appliance/acme-challenge(/.*)? challenges of certificates, gone when they are answered'
  '/var/lib/systemd/(timers/stamp-.*|timesync/clock|random-seed|linger/.*|deb-systemd-.*) what systemd keeps from boot to boot'
  '/var/lib/private/systemd/.* the same'
  '/var/lib/apt/(lists|periodic|extended_states|daily_lock).* what apt knows of packages, of an update'
  '/var/cache/(apt|debconf)/.* the same, and may be deleted'
  '/var/lib/dpkg/.* the same; package lists of an update'
  '/var/lib/unattended-upgrades/.* the same'
  '/var/backups/.* daily copies of the package database, by dpkg'
  '/var/lib/logrotate/status when each log was rotated'
  '/var/cache/salt/.* what Salt caches of a highstate'
  '/var/lib/(dhcp|dhcpcd|NetworkManager)/.* leases'
  '/var/lib/cloud/.* what cloud-init did in this boot'
  '/var/lib/postfix/(master\.lock|prng_exch|.*_scache\.db|.*_cache\.db) state of a running postfix, not mail'
  '/var/lib/containerd/.* containers that run, made anew at each start'
  '/var/cache/(man|fontconfig|ldconfig)/.* caches of the system, may be deleted'
  '/var/lib/sudo/.* time stamps'
  '/etc/(machine-id|adjtime) of the boot and of the clock'
  '/etc/(resolv\.conf|hostname) what DHCP and cloud-init write'
  '/root/\.cache/.* may be deleted'
)

pruned=(/proc /sys /dev /data /volatile /run /tmp /var/log)
# listing FILE: path, kind, mode, owner, size, change of content, digest or target of all that is on the root file system
listing() {
  guest bash -c '
    prune=(); for path; do prune+=(-path "$path" -prune -o); done
    find / -xdev "${prune[@]}" \( -type f -printf "%p\tf\t%m %U:%G %s %T@\n" -o -type l -printf "%p\tl\t%l\n" -o -type d -printf "%p\td\t%m %U:%G\n" \) | LC_ALL=C sort
    find / -xdev "${prune[@]}" -type f -print0 | xargs -0 sha256sum 2>/dev/null | sed "s/^\([0-9a-f]*\)  \(.*\)/\2\tsum\t\1/" | LC_ALL=C sort
  ' bash "${pruned[@]}" >"$1"
}
settled() { guest sh -c '[ -z "$(systemctl list-jobs --no-legend)" ]'; }

complete_machine
stand_in "${all_images[@]}"
keep_environment
environment '{}'
no_mirrors
acme_root
acme_is $acme_port
start_acme 0
/usr/bin/python3 "$here/sink.py" "$work/sink" "$host4" 25 &
sink_pid=$!
guest sh -c 'rm -rf /volatile/ecs-backup-test /volatile/ecs-backup-work; appliance-start >/dev/null'
wait_for 60 'nothing is going on' settled
listing "$work/before"
files=$(grep -c $'\tsum\t' "$work/before")
many() { [ "$files" -gt 5000 ]; }
check "files are looked at ($files)" many

# ---- deeds

reboot() {
  reboot_guest
  wait_for 240 'the application answers' runs
}

mails() {
  guest sh -c 'for i in $(seq 50); do printf "Subject: %s\n\ntext\n" $i | sendmail -f audit@ecs.example.org "audit@[$1]"; done' sh "$host4"
  arrived() { [ "$(find "$work/sink" -name '*.eml' | wc -l)" = 50 ]; }
  wait_for 120 '50 mails have left' arrived
}

serial() { guest openssl x509 -in /app/etc/server.cert.pem -noout -serial; }
renewal() {
  local before
  before=$(serial)
  guest touch /app/etc/flags/force.update.letsencrypt
  check 'a renewal' guest /usr/local/share/appliance/appliance-certificate-renew.sh
  check 'it gave another certificate' test "$(serial)" != "$before"
}

update() {
  check 'an update' guest systemctl start appliance-update
  wait_for 240 'the application answers' runs
}

backup() {
  check 'a backup' guest systemctl start appliance-backup
}

rotation() {
  check 'a rotation of logs' guest logrotate --force /etc/logrotate.conf
}

day() {
  guest sh -c 'systemctl stop systemd-timesyncd; date -s "+24 hours" >/dev/null'
  sleep 30
  wait_for 900 'what the day starts has ended' settled
  guest sh -c 'date -s "-24 hours" >/dev/null; systemctl start systemd-timesyncd'
}

reboot
mails
renewal
update
backup
rotation
day
reboot
wait_for 60 'nothing is going on' settled

listing "$work/after"

# ---- what has changed

printf '%s\n' "${allowed[@]}" | sed 's/ .*//' >"$work/allowed"
# differing FILE FILE: the paths
differing() { { diff "$1" "$2" || true; } | sed -n 's/^[<>] \([^\t]*\)\t.*/\1/p' | LC_ALL=C sort -u; }
differing "$work/before" "$work/after" >"$work/changed"
grep -vxEf "$work/allowed" "$work/changed" >"$work/bad" || true
echo "written: $(wc -l <"$work/changed") paths, of them allowed: $(grep -cxEf "$work/allowed" "$work/changed" || true)"
nothing_else() { if [ -s "$work/bad" ]; then cat "$work/bad" && return 1; fi; }
check 'nothing was written outside the places for it' nothing_else
# the look itself sees a write
guest touch /usr/local/share/appliance/written
listing "$work/again"
seen() { differing "$work/after" "$work/again" | grep -qx /usr/local/share/appliance/written; }
check 'and a file that is written is seen' seen
guest rm /usr/local/share/appliance/written

guest rm -rf /volatile/ecs-backup-test /volatile/ecs-backup-work
environment_back
no_images
finish_checks
