#!/usr/bin/env bash
# An environment is made, packed, printed, scanned askew and recovered; the appliance that is booted with the seed disk of what
# came back lets in whom it names, sets itself up for it, and has the very same file in force.
# label: soak
# needs: ecs
# timeout: 1800
. "$(dirname "$0")/common.inc"

env=$(dirname "$KILN")/kiln-env
ssh-keygen -q -t ed25519 -N '' -f "$work/login"
printf 'ssh_authorized_keys: ["%s"]\n' "$(cat "$work/login.pub")" >"$work/extra.yml"
"$env" create --extra "$work/extra.yml" ecs.example.org "$work/made.yml" >"$work/out" 2>"$work/err" || fail "create"
"$env" package "$work/made.yml" >"$work/out" 2>"$work/err" || fail "package"

# A scanner at 150 dpi: grey, a paper that is not quite white, noise, and the first page a little turned.
pdftoppm -r 150 -gray -f 2 -l 3 "$work/made.yml.pdf" "$work/page" 2>"$work/err" || fail "pdftoppm"
python3 - "$work"/page-*.pgm <<'END'
import math, random, struct, sys, zlib

for number, name in enumerate(sys.argv[1:]):
    magic, size, _, points = open(name, "rb").read().split(b"\n", 3)
    width, height = map(int, size.split())
    random.seed(number)
    angle = math.radians((number % 3 - 1) * 1.5)
    cos, sin = math.cos(angle), math.sin(angle)
    noise = bytes(random.randrange(40) for _ in range(4096))
    rows = []
    for y in range(height):
        row = bytearray(width)
        for x in range(width):
            a = cos * (x - width / 2) - sin * (y - height / 2) + width / 2
            b = sin * (x - width / 2) + cos * (y - height / 2) + height / 2
            i, j = int(a), int(b)
            point = 235
            if a >= 0 and b >= 0 and i + 1 < width and j + 1 < height:
                a, b, at = a - i, b - j, j * width + i
                point = (1 - b) * ((1 - a) * points[at] + a * points[at + 1])
                point += b * ((1 - a) * points[at + width] + a * points[at + width + 1])
            row[x] = 20 + int(point * 0.76) + noise[(x * 7 + y * 131) % 4096]
        rows.append(b"\0" + bytes(row))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    with open(name[:-3] + "png", "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows), 1)) + chunk(b"IEND", b""))
END
mkdir -m 0700 "$work/safe"
mapfile -t scans < <(printf '%s\n' "$work"/page-*.png | sort -r)
"$env" recover -o "$work/safe/env.yml" "${scans[@]}" >"$work/out" 2>"$work/err" || fail "recover"
cmp "$work/made.yml" "$work/safe/env.yml" || fail "another file came back"
"$env" package "$work/safe/env.yml" >"$work/out" 2>"$work/err" || fail "package of what came back"

# The appliance with the seed disk as it is, in QEMU as anybody starts it.
image=$kept/ecs-bookworm/ecs-bookworm.qcow2
qemu-img create -q -f qcow2 -b "$image" -F qcow2 "$work/disk.qcow2"
qemu-system-x86_64 -cpu max -m 3G -smp 2 -display none -monitor "unix:$work/monitor,server=on,wait=off" \
  -serial "file:$work/console" \
  -drive "file=$work/disk.qcow2,if=virtio,cache=unsafe" -drive "file=$work/safe/env-cidata.iso,if=virtio,format=raw,readonly=on" \
  -nic "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:0-:22" 2>"$work/err" &
qemu=$!
wait_for 30 "QEMU's monitor" test -S "$work/monitor"
# The port that the system chose.
port=$(python3 - "$work/monitor" <<'END'
import re, socket, sys

monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
monitor.sendall(b"info usernet\n")
told = b""
while not (found := re.search(rb"HOST_FORWARD\]? +\d+ +127\.0\.0\.1 +(\d+) ", told)):
    told += monitor.recv(4096) or sys.exit("QEMU ended")
print(found[1].decode())
END
)
inside() {
  ssh -i "$work/login" -p "$port" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ConnectTimeout=20 root@127.0.0.1 "$@"
}
logged_in() {
  kill -0 "$qemu" 2>/dev/null || fail "QEMU ended: $(tail -n 30 "$work/console")"
  inside true 2>"$work/err"
}
wait_for 600 "a login with the key of the environment" logged_in
# its services are set up for the environment; that its application runs is appliance.ecs's, and is not waited for
wait_for 900 "the services are set up" inside systemctl is-active prepare-appliance.service
[ "$(inside cloud-id)" = nocloud ] || fail "cloud-init has it from elsewhere"
[ "$(inside hostname)" = ecs ] || fail "the machine is called $(inside hostname)"
inside test ! -e /run/appliance-failed || fail "it says: $(inside cat /run/appliance-failed)"
inside journalctl -u prepare-env >"$work/out" 2>"$work/err" || fail "no journal"
says 'environment: /run/active-env.yml: from .*cidata'
[ "$(inside postconf -h myhostname)" = ecs.example.org ] || fail "postfix is called $(inside postconf -h myhostname)"
[ "$(inside stat -c %a:%u /run/active-env.yml)" = 600:0 ] || fail "others may read the active environment"
inside cat /run/active-env.yml >"$work/active"
cmp "$work/made.yml" "$work/active" || fail "another environment is active"
kill "$qemu"
wait "$qemu" || true
