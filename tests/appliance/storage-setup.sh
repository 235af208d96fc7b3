#!/usr/bin/env bash
# Two empty disks become RAID1, LUKS and LVM at a machine's first boot, as appliance.storage.setup says; /data and /volatile move
# in. All is back after a reboot, after a power cut, and on a new root disk; a second run changes nothing; one disk is enough to
# go on, and a new one in its place is taken in; a disk that holds something is named and not touched.
# shellcheck disable=SC2016 # what is quoted is for the guest's shell
# label: soak
# timeout: 3600
MACHINE_BOOT=later
# shellcheck source=machine.inc
. "$(dirname "$0")/machine.inc"

key=$(head -c 30 /dev/urandom | base64)
# the environment comes by a drive: a new root disk finds it again
MACHINE_ENV=$work/env.yml
cat >"$MACHINE_ENV" <<END
#cloud-config
appliance:
  domain: ecs.example.org
  standby: true # the images of the application have no room on such disks
  storage:
    ignore: {data: false, volatile: false}
    setup:
      disks:
        - device: /dev/disk/by-id/virtio-disk1
          partitions: [{name: ecs-a}]
        - device: /dev/disk/by-id/virtio-disk2
          partitions: [{name: ecs-b}]
      raid:
        - name: ecs
          level: 1
          devices: [/dev/disk/by-partlabel/ecs-a, /dev/disk/by-partlabel/ecs-b]
      crypt:
        - {name: ecs, device: /dev/md/ecs, key: "$key"}
      lvm:
        - group: ecs
          devices: [/dev/mapper/ecs]
          volumes: [{name: data, size: 600M}, {name: swap, size: 64M}, {name: volatile}]
      format:
        - {device: /dev/ecs/data, type: ext4, label: ecs-data}
        - {device: /dev/ecs/volatile, type: ext4, label: ecs-volatile}
      swap: [/dev/ecs/swap]
END
add_disk 1500M
add_disk 1500M
boot_guest

all_is_there() {
  check "$1: the unit is content" guest systemctl is-active appliance-storage
  check "$1: /data is on LVM" guest sh -c 'test "$(findmnt -no SOURCE,LABEL /data)" = "/dev/mapper/ecs-data ecs-data"'
  check "$1: /volatile is on LVM" guest sh -c 'test "$(findmnt -no SOURCE,LABEL /volatile)" = "/dev/mapper/ecs-volatile ecs-volatile"'
  check "$1: which is on LUKS, on the array" guest sh -c 'cryptsetup status ecs | grep -q "device: */dev/md"'
  check "$1: which is a RAID1" guest sh -c 'mdadm --detail /dev/md/ecs | grep -q "Raid Level : raid1"'
  check "$1: swap is on" guest sh -c 'test "$(swapon --noheadings --raw --show=SIZE)" = 64M'
  check "$1: PostgreSQL runs" guest pg_isready -q
  check "$1: docker runs" guest docker info
  check "$1: the status page answers" sh -c "curl -sk --max-time 20 https://$guest4/ | grep -qi '<html'"
}
rows() { guest env -C / runuser -u postgres -- psql -XAtc 'select count(*) from kept' postgres </dev/null; }

all_is_there 'first boot'
check 'two members are in use' guest sh -c 'mdadm --detail /dev/md/ecs | grep -q "Active Devices : 2"'
check 'no key in the journal' guest sh -c '! journalctl -b -o cat | grep -q -F "$1"' sh "$key"
guest env -C / runuser -u postgres -- psql -qXc 'create table kept as select generate_series(1, 1000) n' postgres
guest sh -c 'sync; findmnt -rno UUID /data' >"$work/uuid"

again() { # nothing is made: what is done to disks is printed behind a +
  guest sh -c 'kiln-env update >/dev/null && /usr/local/share/appliance/storage-setup.py /run/active-env.yml' >"$work/again" && ! grep '^+ .*\(create\|mk\|luksFormat\|label\)' "$work/again"
}
check 'a second run changes nothing' again
cut_power
all_is_there 'power cut'
check 'power cut: committed rows are there' test "$(rows)" = 1000

salt() { guest salt-call --local --no-color --retcode-passthrough --out=json state.sls appliance.storage.setup >"$work/salt.json" 2>"$work/salt.err"; }
guest kiln-env update >/dev/null
check 'the state appliance.storage.setup holds' salt
check 'and holds again' salt
unchanged() { python3 -c 'import json, sys; sys.exit(any(state["changes"] for state in json.load(open(sys.argv[1]))["local"].values()))' "$work/salt.json"; }
check 'and then changes nothing' unchanged
check 'the environment is remembered for root alone' guest sh -c 'test "$(stat -c %a:%U /var/lib/appliance/storage.yml)" = 600:root'

# somebody's disk: named, whole
add_disk 64M somebody
guest sh -c 'sed "s,disks:,disks:\n        - {device: /dev/disk/by-id/virtio-disk3\, partitions: [{name: mine}]}," /run/active-env.yml >/root/other.yml'
refused() {
  ! guest /usr/local/share/appliance/storage-setup.py /root/other.yml >"$work/refused" 2>&1 &&
    grep -q 'virtio-disk3 (/dev/vd.) holds ext4 "somebody" and is not touched' "$work/refused"
}
check 'a disk that holds a file system is refused by name' refused
check 'and is what it was' guest sh -c 'e2fsck -fn /dev/disk/by-id/virtio-disk3'
guest sh -c 'wipefs -qa /dev/disk/by-id/virtio-disk3; echo hello | dd of=/dev/disk/by-id/virtio-disk3 bs=4096 seek=3 conv=notrunc status=none'
unknown() { ! guest /usr/local/share/appliance/storage-setup.py /root/other.yml >"$work/refused" 2>&1 && grep -q 'holds data of an unknown kind' "$work/refused"; }
check 'so is one that holds what nobody knows' unknown
guest sh -c 'echo "0 $(blockdev --getsz /dev/disk/by-id/virtio-disk3) linear /dev/disk/by-id/virtio-disk3 0" | dmsetup create foreign
  sed "s,format:,format:\n        - {device: /dev/mapper/foreign\, type: ext4\, label: mine}," /run/active-env.yml >/root/other.yml'
check 'and one that lies on such a disk' unknown
guest dmsetup remove foreign

# a new root disk, and one of the two disks is empty: it was replaced
power_off
replace_root
rm -f "$machine_dir/disk2.raw"
truncate -s 1500M "$machine_dir/disk2.raw"
boot_guest
all_is_there 'new root, new second disk'
check 'new root: the same file system' sh -c "test \"\$(cat '$work/uuid')\" = '$(guest findmnt -rno UUID /data)'"
check 'new root: the rows are there' test "$(rows)" = 1000
check 'the new disk has been taken into the array' guest sh -c 'mdadm --detail /dev/md/ecs | grep -E "Active Devices : 2|spare rebuilding"'
finish_checks
