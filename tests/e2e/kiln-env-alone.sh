#!/usr/bin/env bash
# kiln-env as the stage puts it into an image works where nothing else is: no libc, no loader, no /etc, nothing but a
# static shell; and gives what it gives on the machine it comes from.
# label: guest
# timeout: 300
. "$(dirname "$0")/common.inc"

need_root "enters a root file system of its own"
kiln_env=${KILN%/*}/kiln-env
store=$work/store # nobody else wants these layers
mkdir -m 0700 "$store"
mkdir -p "$work"/base/{bin,dev,proc,tmp} "$work/host"
cp "$(command -v busybox)" "$work/base/bin/sh"
truncate -s 400M "$work/base.raw"
mke2fs -q -t ext4 -L cloudimg-rootfs -d "$work/base" "$work/base.raw"
cat >"$work/alone.yml" <<END
description: kiln-env and nothing else
steps:
  - base_image:
      file: base.raw
      sha256: $(sha256sum "$work/base.raw" | cut -d ' ' -f 1)
      size: 0
  - kiln_env: {}
END
for again in False True; do
  kiln build "$work/alone.yml" --until kiln_env --output "$work/built" --json
  expect_status 0
  [ "$(json "$work/out" "it['builds'][0]['steps'][-1]['reused']")" = $again ] || fail "reused is not $again"
done

# The layer's files, as root finds them in the image.
root=$work/root
mkdir "$root"
qemu-img convert -O raw "$store/layers/$(layer_of kiln_env)/image.qcow2" "$work/layer.raw"
debugfs -R "rdump / $root" "$work/layer.raw" >/dev/null 2>&1
rm -rf "$root/lost+found" "$work/layer.raw"
[ -x "$root/usr/local/bin/kiln-env" ] || fail "nothing is in the image"
[ "$(ls "$root" "$root/usr")" = "$(printf '%s\n' "$root:" bin dev proc tmp usr '' "$root/usr:" local)" ] ||
  fail "more is in the image: $(ls "$root" "$root/usr")"
mknod -m 0666 "$root/dev/null" c 1 3
mknod -m 0666 "$root/dev/urandom" c 1 9

# alone PROGRAM...: with the image as all there is; sets $status, leaves stdout and stderr in $work/out and $work/err.
alone() {
  echo "\$ $*"
  status=0
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec env -i GNUPGHOME=/tmp/keys /usr/sbin/chroot "$0" "$@"' \
    "$root" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
}
does() {
  alone "$@"
  expect_status 0
}

does /usr/local/sbin/env-create.sh ecs.example.org /tmp/env.yml
alone /usr/local/sbin/env-create.sh ecs.example.org /tmp/env.yml
expect_status 1
says "is there already"
does /usr/local/bin/kiln-env check /tmp/env.yml
for called in flatyaml flatyaml.py; do
  does "/usr/local/bin/$called" appliance /tmp/env.yml
  says '^APPLIANCE_DOMAIN=ecs.example.org$'
done
ENV_YML=$root/tmp/env.yml "$kiln_env" update --active "$work/host/active.yml" >/dev/null
does /bin/sh -c 'ENV_YML=/tmp/env.yml /usr/local/sbin/env-update.sh --active /tmp/active.yml'
cmp "$root/tmp/active.yml" "$work/host/active.yml"
mkdir -p "$root/dev/disk/by-label"
truncate -s 1M "$root/dev/disk/by-label/cidata"
mkfs.vfat "$root/dev/disk/by-label/cidata" >/dev/null
mcopy -i "$root/dev/disk/by-label/cidata" "$root/tmp/env.yml" ::user-data
rm "$root/tmp/active.yml"
does /usr/local/sbin/env-update.sh --active /tmp/active.yml
says 'on the drive labelled cidata'
cmp "$root/tmp/active.yml" "$work/host/active.yml"

# A key to encrypt to, and the keyring that reads it.
mkdir -m 0700 "$root/tmp/keys"
gpg --homedir "$root/tmp/keys" --batch --quiet --passphrase '' --quick-gen-key box@example.org future-default default never
gpg --homedir "$root/tmp/keys" --armor --export >"$root/tmp/gpgkeys.txt"
gpgconf --homedir "$root/tmp/keys" --kill gpg-agent
does /usr/local/sbin/env-package.sh /tmp/env.yml
cp -a "$root/tmp/env.yml" "$work/host/"
"$kiln_env" package "$work/host/env.yml" >/dev/null
for made in env.yml.pdf env-cidata.iso; do
  cmp "$root/tmp/$made" "$work/host/$made" || fail "$made is another than the one this machine makes"
done
tarball=$(basename "$root"/tmp/ecs.example.org.env.*.tar.gz.gpg)
for paper in env.yml.pdf "$tarball"; do
  does /usr/local/bin/kiln-env recover --force -o /tmp/again.yml "/tmp/$paper"
  cmp "$root/tmp/env.yml" "$root/tmp/again.yml" || fail "$paper gave another environment"
done
# GnuPG leaves the agent of a keyring running, and no other.
gpg-connect-agent --no-autostart -S "$root/tmp/keys/S.gpg-agent" killagent /bye >/dev/null
in_root() { find /proc/[0-9]*/root -maxdepth 0 -lname "$root" 2>/dev/null | grep -q .; }
all_gone() { ! in_root; }
wait_for 10 "the end of all that was started" all_gone
[ -z "$(find "$root/tmp" -maxdepth 1 -name 'kiln-*')" ] || fail "secrets are left: $(ls "$root/tmp")"

# The tree, from its own place, wherever that is.
mv "$root/usr/local/lib/kiln" "$root/elsewhere"
does /elsewhere/libexec/kiln-env check /tmp/env.yml
does /elsewhere/libexec/flatyaml appliance /tmp/env.yml
says '^APPLIANCE_DOMAIN=ecs.example.org$'
du -sh "$root/elsewhere"

# What is missing is said, and is a status of its own.
rm "$root/elsewhere/libexec/gpg"
alone /elsewhere/libexec/kiln-env check /tmp/env.yml
expect_status 3
says 'gpg is missing, without which OpenPGP keys cannot be read'
alone /elsewhere/libexec/kiln-env package /tmp/env.yml
expect_status 3
