#!/usr/bin/env bash
# /data and /volatile on disks of their own: empty disks take what the image has there while the appliance runs; a new root disk
# finds all again, owned by the same numbers; a move that a power cut ended starts over or goes on; a disk that has to be there
# and is not stops the appliance with a reason; a wiped /volatile comes back.
# shellcheck disable=SC2016,SC2154 # what is quoted is for the guest's shell; disk is add_disk's
# shellcheck source=machine.inc
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"

env_says() { # IGNORE of both
  printf '#cloud-config\nappliance:\n  domain: ecs.example.org\n  storage:\n    ignore: {data: %s, volatile: %s}\n' "$1" "$1" >"$work/env.yml"
  put "$work/env.yml" /app/env.yml 0600
}
sql() { guest env -C / runuser -u postgres -- psql -XAtqc "$1" postgres </dev/null; }
page_says() { curl -sk --max-time 30 "https://$guest4/" | grep -q "$1"; }
on_disk() { # what the table of folders says, and what the numbers of the disk are
  check "$1: /data is the disk labelled ecs-data" guest sh -c 'test "$(findmnt -no LABEL /data)" = ecs-data'
  check "$1: /volatile is the disk labelled ecs-volatile" guest sh -c 'test "$(findmnt -no LABEL /volatile)" = ecs-volatile'
  check "$1: folders have the owners and modes of the table" guest sh -c '
    while read -r kind path mode user group rest; do
      case $kind in
        d) [ "$(stat -c "%04a %u %g" "$path")" = "$mode $user $group" ] || { stat -c "%n %04a %u %g" "$path"; false; } || exit 1 ;;
        L) [ "$(readlink "$path")" = "${rest##* }" ] || { echo "$path leads to $(readlink "$path")"; exit 1; } ;;
      esac
    done </etc/tmpfiles.d/appliance.conf'
  check "$1: nothing of a move is left" guest sh -c '! ls -d /data/.appliance-* /volatile/.appliance-* 2>/dev/null'
  check "$1: PostgreSQL runs" guest pg_isready -q
  check "$1: docker runs" guest docker info
}

# ---- empty disks move in at runtime
sql 'create table kept as select generate_series(1, 1000) n'
guest sh -c 'echo secret >/data/ecs-gpg/key && chown app:app /data/ecs-gpg/key && chmod 0600 /data/ecs-gpg/key'
guest sha256sum /data/etc/server.cert.pem >"$work/cert"
add_disk 1G ecs-data
data=$disk
add_disk 1G ecs-volatile
env_says false
guest kiln-env update >/dev/null
move_in() { guest salt-call --local --no-color --retcode-passthrough state.sls appliance.storage.setup; }
check 'the state appliance.storage.setup holds' move_in
on_disk 'moved in'
check 'the rows moved' test "$(sql 'select count(*) from kept')" = 1000
check 'files keep owner and mode' guest sh -c 'test "$(stat -c "%a %u %g" /data/ecs-gpg/key)" = "600 1000 1000" && grep -q secret /data/ecs-gpg/key'
sql 'create table later as select generate_series(1, 10) n'
reboot_guest
on_disk 'reboot'
check 'reboot: what was written later is there' test "$(sql 'select count(*) from later')" = 10

# ---- a new root disk; it has no environment that would tell it to look
power_off
replace_root
boot_guest
on_disk 'new root'
check 'new root: the rows are there' test "$(sql 'select count(*) from kept')" = 1000
check 'new root: the certificate is the old one' sh -c "test '$(guest cat /data/etc/server.cert.pem | sha256sum | cut -d' ' -f1)' = '$(cut -d' ' -f1 "$work/cert")'"
numbers() { # each user of the table of fixed numbers has its number
  guest sh -c 'while read -r kind name number rest; do
      [ "$kind" != u ] || [ "$(id -u "$name")" = "$number" ] || { echo "$name"; exit 1; }
    done </etc/sysusers.d/appliance.conf'
}
check 'new root: users have their fixed numbers' numbers

# ---- the power is cut while something moves in: before the list is laid down, and after
env_says false
guest sh -c "e2label \$(findmnt -no SOURCE /data) old; umount -l /data; sync"
add_disk 1G ecs-data
half=$disk
guest sh -c "mount $(disk_path "$half") /mnt && mkdir -p /mnt/.appliance-move-in/etc && touch /mnt/.appliance-move-in/etc/half && umount /mnt"
cut_power
on_disk 'cut before the list'
check 'cut before the list: what was half there is gone, the whole is there' guest sh -c 'test ! -e /data/etc/half && test -s /data/etc/server.cert.pem'
guest sh -c 'cd /data; mkdir -m 0700 .appliance-move-in; ls -A | grep -v -e "^lost+found$" -e "^.appliance" >/root/list; mv etc ecs-gpg postgresql .appliance-move-in/; cp /root/list .appliance-move-in.list; sync'
cut_power
on_disk 'cut after the list'
check 'cut after the list: the rest has moved' guest sh -c 'test -s /data/etc/server.cert.pem'

# ---- from here on without a boot: what has files there stops, and the disks are looked for again
storage=/usr/local/share/appliance/storage.sh
part() { guest sh -c "systemctl stop appliance-storage docker.socket; umount /$1 || umount -l /$1; udevadm settle"; }
fails_to_start() { ! guest "$storage" restart; }

part data
guest sh -c "e2label $(disk_path "$data") ecs-data"
check 'two disks of one label: the unit fails' fails_to_start
check 'two disks of one label: the page names them' page_says 'More than one file system is labelled ecs-data'
check 'and no database is begun on the folder below' guest sh -c '! pg_isready -q'
guest sh -c "e2label $(disk_path "$half") old"
check 'taken back, all is started' guest "$storage" restart
on_disk 'mended'
check 'mended: the first disk is back as it was' test "$(sql 'select count(*) from later')" = 10

guest systemctl set-environment STORAGE_PATIENCE=5
part data
guest sh -c "e2label $(disk_path "$data") old"
check 'a missing disk: the unit fails' fails_to_start
check 'a missing disk: the page says why' page_says 'No file system labelled ecs-data was found'
guest sh -c "e2label $(disk_path "$data") ecs-data"
check 'plugged in, all is started' guest "$storage" restart

# ---- what can be lost is lost: wiped, or an empty disk
guest sh -c 'systemctl stop appliance-storage docker.socket; find /volatile -mindepth 1 -delete; sync'
check 'wiped /volatile: all is started' guest "$storage" restart
on_disk 'wiped /volatile'
part volatile
guest sh -c "mkfs.ext4 -q -F -L ecs-volatile $(disk_path disk2)"
check 'an empty disk for /volatile: all is started' guest "$storage" restart
on_disk 'empty /volatile'

# ---- and the environment may do without
env_says true
guest kiln-env update >/dev/null
part data
check 'ignored: all is started' guest "$storage" restart
check 'ignored: /data is a folder' guest sh -c '! mountpoint -q /data'
finish_checks
