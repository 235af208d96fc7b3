#!/usr/bin/python3
"""Makes disks what the environment says in appliance.storage.setup: partitions, RAID, encryption, LVM, file systems, swap.

usage: storage-setup.py ENV                  does it, or finds it done
       storage-setup.py --remember FILE ENV  keeps what ENV says of storage in FILE, 0600
       storage-setup.py --remembers FILE ENV whether that is what FILE has

Run at each boot: what is there is started (arrays, encrypted devices, volumes, swap, mounts), what is missing is made. A device
is made into something only when nothing is on it. One that holds anything else than what it was told is not touched: that is
an error which names the device, what is on it, and what to do. See README, Storage."""
import json
import os
import re
import subprocess
import sys
import time

import yaml

BEGUN = '/var/lib/appliance/storage-begun'  # what was being made on a device when the power went
FRESH = '/var/lib/appliance/storage-fresh'  # devices that were made and that nothing was put on yet, one a line
PATIENCE = 60  # seconds that a device may take to appear


class Refused(Exception):
    pass


def run(*argv, **options):
    """Says what it does and does it; what the program says is part of the error. Nothing secret is in argv."""
    print('+ ' + ' '.join(argv), flush=True)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise Refused('%s: %s' % (' '.join(argv), done.stdout.decode(errors='replace').strip()))
    return done.stdout.decode(errors='replace')


def output(*argv):
    """(exit status, output) of a program that only looks."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.returncode, done.stdout.decode(errors='replace')


def settle():
    output('udevadm', 'settle', '--timeout=30')


def appear(device):
    """Waits for a device and returns its kernel name, as /dev/vda1."""
    end = time.monotonic() + PATIENCE
    while not os.path.exists(device):
        if time.monotonic() > end:
            raise Refused('%s is not there' % device)
        time.sleep(0.5)
        settle()
    return os.path.realpath(device)


def probe(device):
    """What is on a device, by its superblocks: {} when nothing is known."""
    status, text = output('blkid', '-p', '-o', 'export', device)
    if status == 8:
        raise Refused('%s holds signatures that contradict each other (wipefs %s)' % (device, device))
    return dict(line.split('=', 1) for line in text.splitlines() if '=' in line)


def note(path, text):
    """Keeps a text in a file of root's alone, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path + '.new', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + '.new', path)


def noted(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ''


def begun(step=None):
    """Remembers a step before it begins; without one says which was begun last."""
    if step is None:
        return noted(BEGUN)
    note(BEGUN, step)
    return step


def fresh(device):
    """Remembers that a device is about to be made: what is read from it then is what lay below, deciphered or not, and nobody's."""
    note(FRESH, ''.join(sorted(set(noted(FRESH).splitlines(True)) | {device + '\n'})))


def is_fresh(device):
    return device in [os.path.realpath(name) for name in noted(FRESH).splitlines()]


def no_longer_fresh(device):
    note(FRESH, ''.join(name for name in noted(FRESH).splitlines(True) if os.path.realpath(name.strip()) != device))


def is_blank(device):
    """Whether the first and last MiB of a device are zero."""
    with open(device, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        for at in (0, max(0, size - (1 << 20))):
            file.seek(at)
            if file.read(1 << 20).strip(b'\0'):
                return False
    return True


def claim(device, step):
    """Refuses a device that is in use or holds something; else `step` may begin on it."""
    found = probe(device)
    what = found.get('TYPE') or (found.get('PTTYPE') and 'a partition table (%s)' % found['PTTYPE'])
    name = os.path.basename(device)
    holders = os.listdir('/sys/class/block/%s/holders' % name)
    if what:
        what += ' "%s"' % found['LABEL'] if 'LABEL' in found else ''
    elif holders:
        what = 'a part of %s' % ', '.join(holders)
    elif output('findmnt', '-n', '--source', device)[0] == 0:
        what = 'a mounted file system'
    elif begun() != step and not is_fresh(device) and not is_blank(device):
        what = 'data of an unknown kind'
    if what:
        raise Refused('%s (%s) holds %s and is not touched: %s was wanted there. Name another device, or, when what it holds may '
                      'be lost: wipefs --all %s && blkdiscard --zeroout %s' % (step.split()[1], device, what, step, device, device))
    begun(step)
    no_longer_fresh(device)


def fields(entry, where, needed, others=()):
    """The values of a mapping; unknown and missing keys are told."""
    if not isinstance(entry, dict):
        raise Refused('%s: a mapping with %s is expected' % (where, ', '.join(needed)))
    for key in entry:
        if key not in needed and key not in others:
            raise Refused('%s: unknown key %s' % (where, key))
    for key in needed:
        if entry.get(key) in (None, '', []):
            raise Refused('%s: %s is missing' % (where, key))
    return [entry.get(key) for key in tuple(needed) + tuple(others)]


def mebibytes(size, where):
    match = re.match(r'(\d+)([MGT])$', str(size))
    if not match:
        raise Refused('%s: size is written 512M, 20G or 1T' % where)
    return int(match.group(1)) << {'M': 0, 'G': 10, 'T': 20}[match.group(2)]


def word(text, where):
    if not re.match(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,15}$', str(text)):
        raise Refused('%s: a name has up to 16 letters, digits, and . _ -' % where)
    return str(text)


def partitions_of(device):
    """[(name, end in bytes)] of a GPT, in the order of the disk."""
    _, text = output('parted', '-sm', device, 'unit', 'B', 'print')
    rows = [line.rstrip(';').split(':') for line in text.splitlines()[2:]]
    return [(row[5], int(row[2].rstrip('B'))) for row in sorted(rows, key=lambda row: int(row[1].rstrip('B')))]


def setup_disk(entry, where):
    device, wanted = fields(entry, where, ('device', 'partitions'))
    disk = appear(device)
    parts = []
    for number, part in enumerate(wanted):
        at = '%s.partitions[%d]' % (where, number)
        name, size = fields(part, at, ('name',), ('size',))
        if size is None and number + 1 != len(wanted):
            raise Refused('%s: only the last partition goes without a size' % at)
        parts.append((word(name, at), size and mebibytes(size, at)))
    if probe(disk).get('PTTYPE') != 'gpt':
        claim(disk, 'partition %s' % device)
        run('parted', '-s', disk, 'mklabel', 'gpt')
    there = partitions_of(disk)
    if [name for name, _ in there] != [name for name, _ in parts[:len(there)]]:
        raise Refused('%s has the partitions %s, and %s were wanted: not touched. Name another disk, or name what is there'
                      % (device, ', '.join(name or 'without a name' for name, _ in there), ', '.join(name for name, _ in parts)))
    start = 1 if not there else (there[-1][1] >> 20) + 1
    for name, size in parts[len(there):]:
        run('parted', '-s', disk, 'mkpart', name, '%dMiB' % start, '%dMiB' % (start + size) if size else '100%')
        start += size or 0
    settle()
    for name, _ in parts:
        appear('/dev/disk/by-partlabel/' + name)


def members_of(devices, name, where):
    """Which devices carry the array's superblock, and which do not."""
    members, others, arrays = [], [], set()
    for device in devices:
        found = probe(device)
        if found.get('TYPE') != 'linux_raid_member':
            others.append(device)
            continue
        # any:NAME is how an array made here is named
        if found.get('LABEL', '').split(':')[-1] != name:
            raise Refused('%s: %s is a part of the array %s: not touched' % (where, device, found.get('LABEL', 'without a name')))
        members.append(device)
        arrays.add(found.get('UUID'))
    if len(arrays) > 1:
        raise Refused('%s: %s are parts of different arrays: not touched' % (where, ', '.join(members)))
    return members, others


def setup_raid(entry, where):
    name, level, devices = fields(entry, where, ('name', 'level', 'devices'))
    name, array = word(name, where), '/dev/md/%s' % name
    present = []
    for device in devices:
        try:
            present.append(appear(device))
        except Refused as missing:
            print('%s: %s' % (where, missing), file=sys.stderr)
    members, others = members_of(present, name, where)
    if not members:
        if len(present) != len(devices):
            raise Refused('%s: not all of %s are there' % (where, ', '.join(devices)))
        for device in present:
            claim(device, 'raid %s' % device)
        begun('raid %s' % name)
        fresh(array)
        run('mdadm', '--create', array, '--run', '--level=%s' % level, '--raid-devices=%d' % len(present), '--metadata=1.2',
            '--homehost=any', '--name=%s' % name, *present)
    elif not active(array):
        # udev has put together what it found, under a name of its own, and waits for the rest
        for holder in {holder for member in members for holder in os.listdir('/sys/class/block/%s/holders' % os.path.basename(member))}:
            if not active('/dev/' + holder):
                run('mdadm', '--stop', '/dev/' + holder)
        run('mdadm', '--assemble', '--run', array, *members)
    if members and others:
        # a disk that was replaced
        for device in others:
            claim(device, 'raid %s' % device)
            run('mdadm', array, '--add', device)
    settle()
    appear(array)


def active(array):
    if not os.path.exists(array):
        return False
    state = '/sys/class/block/%s/md/array_state' % os.path.basename(os.path.realpath(array))
    with open(state) as file:
        return file.read().strip() not in ('clear', 'inactive')


def setup_crypt(entry, where):
    name, device, key = fields(entry, where, ('name', 'device', 'key'))
    name, disk = word(name, where), appear(device)
    if len(str(key)) < 20:
        raise Refused('%s: a key has 20 characters at least' % where)
    secret = {'input': str(key).encode()}  # never in argv
    if os.path.exists('/dev/mapper/' + name):
        return
    if probe(disk).get('TYPE') != 'crypto_LUKS':
        claim(disk, 'crypt %s' % device)
        fresh('/dev/mapper/' + name)
        run('cryptsetup', 'luksFormat', '--batch-mode', '--type', 'luks1' if old_cryptsetup() else 'luks2', '--key-file=-', disk, **secret)
    run('cryptsetup', 'open', '--allow-discards', '--key-file=-', disk, name, **secret)
    appear('/dev/mapper/' + name)


def old_cryptsetup():
    return output('cryptsetup', '--version')[1].startswith('cryptsetup 1.')


def setup_lvm(entry, where):
    group, devices, volumes = fields(entry, where, ('group', 'devices', 'volumes'))
    group = word(group, where)
    exists = output('vgs', group)[0] == 0
    for device in devices:
        disk = appear(device)
        if probe(disk).get('TYPE') != 'LVM2_member':
            claim(disk, 'lvm %s' % device)
            run('pvcreate', disk)
        owner = output('pvs', '--noheadings', '-o', 'vg_name', disk)[1].strip()
        if owner not in ('', group):
            raise Refused('%s: %s belongs to the volume group %s: not touched' % (where, device, owner))
        if not owner:
            run('vgextend' if exists else 'vgcreate', group, disk)
            exists = True
    run('vgchange', '--activate', 'y', group)
    for number, volume in enumerate(volumes):
        at = '%s.volumes[%d]' % (where, number)
        name, size = fields(volume, at, ('name',), ('size',))
        name = word(name, at)
        if output('lvs', '%s/%s' % (group, name))[0]:
            amount = ('--size', '%dM' % mebibytes(size, at)) if size else ('--extents', '100%FREE')
            fresh('/dev/%s/%s' % (group, name))
            run('lvcreate', '--yes', '--wipesignatures', 'y', '--name', name, *amount, group)
        appear('/dev/%s/%s' % (group, name))


def setup_format(entry, where):
    device, kind, label = fields(entry, where, ('device', 'type', 'label'))
    disk, found = appear(device), None
    found = probe(disk)
    if (found.get('TYPE'), found.get('LABEL')) == (kind, label):
        return
    if kind not in ('ext4', 'xfs'):
        raise Refused('%s: type is ext4 or xfs' % where)
    claim(disk, 'format %s' % device)
    run('mkfs.' + kind, *(['-q', '-L', word(label, where), disk]))
    settle()


def setup_swap(entry, where):
    device = appear(entry)
    if probe(device).get('TYPE') != 'swap':
        claim(device, 'swap %s' % entry)
        run('mkswap', device)
    with open('/proc/swaps') as file:
        if device not in [os.path.realpath(line.split()[0]) for line in file.read().splitlines()[1:]]:
            run('swapon', device)


def setup_mount(entry, where):
    device, at, options = fields(entry, where, ('device', 'at'), ('options',))
    if at in ('/data', '/volatile'):
        raise Refused('%s: %s is mounted by its label ecs-%s' % (where, at, at[1:]))
    disk = appear(device)
    if output('mountpoint', '-q', at)[0] == 0:
        return
    os.makedirs(at, exist_ok=True)
    run('mount', '-o', options or 'defaults', disk, at)


# in this order, whatever order they are written in
STEPS = (('disks', setup_disk), ('raid', setup_raid), ('crypt', setup_crypt), ('lvm', setup_lvm), ('format', setup_format),
         ('swap', setup_swap), ('mount', setup_mount))


def set_up(setup):
    if not isinstance(setup, dict):
        raise Refused('appliance.storage.setup is no mapping')
    for key in setup:
        if key not in [name for name, _ in STEPS]:
            raise Refused('appliance.storage.setup: unknown key %s' % key)
    settle()
    for name, step in STEPS:
        for number, entry in enumerate(setup.get(name) or []):
            step(entry, '%s[%d]' % (name, number))
    for path in (BEGUN, FRESH):
        if os.path.exists(path):
            os.remove(path)


def storage_of(path):
    with open(path) as file:
        env = yaml.safe_load(file) or {}
    return (env.get('appliance') or {}).get('storage') or {}


def remembered(path, storage):
    text = json.dumps({'appliance': {'storage': storage}}, sort_keys=True) + '\n'
    return text, noted(path) == text


def main(argv):
    if len(argv) == 3 and argv[0] in ('--remember', '--remembers'):
        text, known = remembered(argv[1], storage_of(argv[2]))
        if argv[0] == '--remembers':
            return 0 if known else 1
        if not known:
            note(argv[1], text)
        return 0
    if len(argv) != 1:
        sys.exit(__doc__)
    try:
        set_up(storage_of(argv[0]).get('setup') or {})
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
