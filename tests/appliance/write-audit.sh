#!/usr/bin/env bash
# What an appliance writes while it lives: nothing outside /data, /volatile, /run, /tmp, /var/log and the paths below, each with its
# reason. Two reboots, 50 mails, a renewal, an update, a backup, a rotation of logs, a day.
# shellcheck disable=SC2016
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

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
boot_id() { guest cat /proc/sys/kernel/random/boot_id; }

complete_machine
stand_in "${all_images[@]}"
keep_environment
environment '{}'
# what stands where it is only because a part is not in this tree
docker_root=$(guest docker info --format '{{.DockerRootDir}}')
case $docker_root in
  /volatile/*) ;;
  *) echo "skip  $docker_root: not moved to /volatile here" && pruned+=("$docker_root") ;;
esac
for path in /var/lib/postgresql /var/spool/postfix; do
  if guest test ! -L "$path" && ! guest mountpoint -q "$path"; then
    echo "skip  $path: not moved to /data here"
    pruned+=("$path")
  fi
done
guest mountpoint -q /app/appliance && pruned+=(/app/appliance)
guest sh -c 'rm -rf /volatile/ecs-backup-test /volatile/ecs-backup-work; appliance-start >/dev/null'
wait_for 60 'nothing is going on' settled
listing "$work/before"
files=$(grep -c $'\tsum\t' "$work/before")
many() { [ "$files" -gt 5000 ]; }
check "files are looked at ($files)" many

# ---- deeds

reboot() {
  local before
  before=$(boot_id)
  reboot_guest
  new_boot() { [ "$(boot_id)" != "$before" ] || case $MACHINE in nspawn:*) ;; *) false ;; esac; }
  wait_for 180 'a reboot' new_boot
  wait_for 240 'the application answers' runs
}

mails() {
  if ! guest sh -c 'postconf -h inet_interfaces | grep -q 172.17.0.1'; then
    echo 'skip  50 mails: postfix is not the appliance'"'"'s here'
    return
  fi
  guest sh -c 'for i in $(seq 50); do printf "Subject: %s\n\ntext\n" $i | sendmail -f audit@ecs.example.org audit@sink.invalid; done'
  echo 'done  50 mails'
}

renewal() {
  if guest test -x /usr/local/share/appliance/appliance-certificate-renew.sh; then
    guest /usr/local/share/appliance/appliance-certificate-renew.sh --force >/dev/null 2>&1 || echo '      (it got none here)'
    echo 'done  a renewal'
  else
    echo 'skip  a renewal: not in this tree'
  fi
}

update() {
  guest systemctl start appliance-update || echo '      (a part of it failed here)'
  echo 'done  an update'
  wait_for 240 'the application answers' runs
}

backup() {
  guest systemctl start appliance-backup
  echo 'done  a backup'
}

rotation() {
  guest logrotate --force /etc/logrotate.conf
  echo 'done  a rotation of logs'
}

day() {
  case $MACHINE in
    nspawn:*)
      echo 'skip  the clock: it is the host'"'"'s here; what timers start is started by hand'
      guest sh -c 'for unit in $(systemctl list-timers --all --no-legend | grep -o "[^ ]*\.service *$"); do case $unit in appliance-*|apt-daily*) ;; *) systemctl start $unit || true ;; esac; done'
      ;;
    *)
      guest sh -c 'systemctl stop systemd-timesyncd; date -s "+24 hours" >/dev/null'
      sleep 30
      wait_for 900 'what the day starts has ended' settled
      guest sh -c 'date -s "-24 hours" >/dev/null; systemctl start systemd-timesyncd'
      echo 'done  a day'
      ;;
  esac
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
