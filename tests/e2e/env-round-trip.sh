#!/usr/bin/env bash
# An environment is made, packed, printed, scanned askew and recovered; an image that is booted with the seed disk of what
# came back activates the very same file.
# label: guest
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

need_root "mounts the layer that it adds kiln-env to"
own_store
env=$(dirname "$KILN")/kiln-env
"$env" create ecs.example.org "$work/made.yml" >"$work/out" 2>"$work/err" || fail "create"
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

mkdir -p "$work/tree/etc/systemd/system" "$work/tree/srv"
# Packed, for kiln refuses an overlay in which it sees a private key.
gzip -c "$work/safe/env-cidata.iso" >"$work/tree/srv/seed.iso.gz"
cat >"$work/tree/etc/systemd/system/env.service" <<'END'
[Unit]
Description=Reads the environment

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/env-update.sh

[Install]
WantedBy=multi-user.target
END
cat >"$work/environed.yml" <<END
description: with an environment
extends: $top/profiles/minimal.yml
steps:
  - kiln_env:
  - id: reads-env
    overlay: {tree: $work/tree}
  - id: enables-it
    systemd_units: {enable: [env.service]}
END
kiln build "$work/environed.yml" --no-boot --output "$work/built"
expect_status 0
# shellcheck disable=SC2016 # expanded in the guest
kiln boot "$work/built/environed.qcow2" --env "$work/safe/env-cidata.iso" -- sh -c \
  'set -e
  gunzip -c /srv/seed.iso.gz >/run/seed.iso
  # The kernel reads the seed disk as cloud-init has it mount it; kiln boots with one that has its own login as well.
  [ "$(blkid -o value -s LABEL /run/seed.iso)" = cidata ]
  mount -o loop,ro /run/seed.iso /mnt
  cmp /mnt/user-data /run/active-env.yml >&2
  test -s /mnt/meta-data
  systemctl is-active --quiet env.service && stat -c %a:%u /run/active-env.yml >&2 && cat /run/active-env.yml'
expect_status 0
says '^600:0$'
cmp "$work/made.yml" "$work/out" || fail "another environment is active"
leaves_nothing 5
