#!/usr/bin/env bash
# A base that kiln did not make: Debian 13 on a disk without partitions or boot loader, put together with plain tools. It is
# taken by its digest, grown, booted as the build guest, and what is installed in it is there.
# label: soak
# timeout: 2400
. "$(dirname "$0")/common.inc"

need_root "composes a root file system with devices"
# Only what a guest needs to come up; nothing in it knows of kiln.
# shellcheck disable=SC2016 # expanded by the hook's shell
mmdebstrap --quiet --variant=minbase \
  --include=systemd-sysv,udev,dbus,linux-image-cloud-amd64,initramfs-tools,openssh-server,iproute2,apt-utils,ca-certificates \
  --customize-hook='echo "LABEL=elsewhere / ext4 defaults 0 1" >"$1/etc/fstab"' \
  trixie "$work/root.tar"
mkdir "$work/root"
tar -C "$work/root" --numeric-owner -xf "$work/root.tar" --exclude='./dev/*'
truncate -s 3G "$work/foreign.raw"
mke2fs -q -t ext4 -L elsewhere -d "$work/root" "$work/foreign.raw"
qemu-img convert -O qcow2 "$work/foreign.raw" "$work/foreign.qcow2"
rm -rf --one-file-system "$work/root" "$work/root.tar" "$work/foreign.raw"

cat >"$work/foreign.yml" <<END_OF_PROFILE
description: a base of another make
steps:
  - base_image:
      file: foreign.qcow2
      sha256: $(sha256sum "$work/foreign.qcow2" | cut -d ' ' -f 1)
      size: 4G
  - packages:
      install: [jq]
  - seal: {}
  - export_qcow2: {}
END_OF_PROFILE
# In the guest, although root could enter it as a sandbox.
kiln build "$work/foreign.yml" --rootless --no-boot --output "$work/built"
expect_status 0
python3 - "$work/built/image.json" <<'END_OF_CHECK'
import json
import sys

packages = {one["name"]: one["version"] for one in json.load(open(sys.argv[1]))["packages"]}
assert packages["base-files"].startswith("13"), packages["base-files"]
assert "jq" in packages, sorted(packages)
END_OF_CHECK
[ "$(qemu-img info --output=json "$work/built/foreign.qcow2" | python3 -c 'import json, sys; print("backing-filename" in json.load(sys.stdin))')" = False ] ||
  fail "the image needs another file"
