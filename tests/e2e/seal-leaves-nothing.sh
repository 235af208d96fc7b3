#!/usr/bin/env bash
# What a build leaves in an image does not outlive the seal: neither as a file nor as bytes in free space.
# label: guest
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

need_root "looks into mounted images"
canary=kiln-canary-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
tree=$work/tree
mkdir -p "$tree"/{etc/ssh,etc/docker,etc/salt/pki/minion,root,var/lib/systemd,var/log/journal/1,var/lib/dbus,var/tmp,srv}
# Spread over whole blocks, so that some of it would be left in free space.
for path in etc/ssh/ssh_host_rsa_key.pub etc/ssh/ssh_host_ed25519_key.pub etc/docker/key.json \
  etc/salt/pki/minion/minion.pub etc/salt/minion_id root/.bash_history var/lib/systemd/random-seed \
  var/log/journal/1/system.journal var/log/dpkg.log var/log/syslog.1 var/tmp/notes root/notes; do
  for n in $(seq 400); do echo "$canary $path $n"; done >"$tree/$path"
done
cat >"$work/canary.yml" <<END
extends: $top/profiles/minimal.yml
steps:
  - id: canary
    overlay:
      tree: $tree
  - id: seal
    seal:
      remove: [/root/notes]
END
kiln build "$work/canary.yml" --no-boot --output "$work/built" --json
expect_status 0
# Lines of the disk that hold the canary. Uncompressed, without what was never written and reads as zeros.
lines_in() { qemu-img convert -O qcow2 "$1" "$work/plain" && { grep -c -a -F -e "$canary" "$work/plain" || true; }; }
[ "$(lines_in "$store/layers/$(layer_of canary)/image.qcow2")" -gt 1000 ] || fail "the canary never was in the image"
[ "$(lines_in "$work/built/canary.qcow2")" = 0 ] || fail "the exported disk still holds the canary"
rm "$work/plain"
"$top/build/release/bin/content" "$work/built/canary.qcow2" >"$work/paths"
! grep -E "^/(etc/ssh/ssh_host_|etc/docker/key.json|etc/salt/minion_id|var/lib/systemd/random-seed|root/(notes|\.bash_history))" \
  "$work/paths" || fail "these are left"
grep -q -E '^/etc/machine-id file .* 0 ' "$work/paths" || fail "the machine id is not empty"
