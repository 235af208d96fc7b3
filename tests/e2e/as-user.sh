#!/usr/bin/env bash
# A user without any rights bakes an image: mmdebstrap in a user namespace, layers by libguestfs, packages in the guest.
# Without subordinate ids it is exit status 3 with the command that adds them. Nothing is left in /tmp.
# label: soak
# timeout: 2400
. "$(dirname "$0")/common.inc"

need_root "becomes a user that this machine does not have, in a mount namespace of its own"
uid=61234
share=$(mktemp -d /tmp/kiln-e2e-user-XXXXXX)
elsewhere=("$share" "/var/tmp/.guestfs-$uid")
chmod 0755 "$share"
cp "$KILN" "$share/kiln"
cp -r profiles overlays "$share/"
install -d -o $uid -g $uid "$share/home"
for list in passwd group subuid subgid; do
  { [ ! -e "/etc/$list" ] || cat "/etc/$list"; } >"$share/$list"
done
echo "kiln-e2e:x:$uid:$uid::$share/home:/bin/sh" >>"$share/passwd"
echo "kiln-e2e:x:$uid:" >>"$share/group"

# as_user WORD...: in the user's own home.
as_user() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --propagation private bash -euc '
    share=$1 uid=$2
    shift 2
    for list in passwd group subuid subgid; do
      [ -e "/etc/$list" ] || : >"/etc/$list"
      mount --bind "$share/$list" "/etc/$list"
    done
    cd "$share/home"
    exec setpriv --reuid="$uid" --regid="$uid" --clear-groups \
      env -i HOME="$share/home" PATH="$PATH" ${http_proxy:+http_proxy="$http_proxy"} "$@"' as-user "$share" $uid "$@" \
    >"$work/out" 2>"$work/err" </dev/null
}

status=0
as_user "$share/kiln" build "$share/profiles/minimal.yml" --no-boot || status=$?
expect_status 3
says 'usermod --add-subuids'

echo "kiln-e2e:1000000:65536" >>"$share/subuid"
echo "kiln-e2e:1000000:65536" >>"$share/subgid"
cat >"$share/profiles/user.yml" <<'END_OF_PROFILE'
description: what a user without rights can bake
extends: minimal.yml
steps:
  - packages:
      install: [jq]
END_OF_PROFILE
status=0
as_user "$share/kiln" build "$share/profiles/user.yml" --no-boot || status=$?
expect_status 0
[ "$(stat -c %u "$share/home/out/user/user.qcow2")" = $uid ] || fail "the image is not the user's"
python3 -c 'import json, sys; assert any(one["name"] == "jq" for one in json.load(open(sys.argv[1]))["packages"])' \
  "$share/home/out/user/image.json"
left=$(find /tmp /var/tmp -xdev -user $uid -not -path "$share/*" -not -path "/var/tmp/.guestfs-$uid*" 2>/dev/null || true)
[ -z "$left" ] || fail "left behind: $left"
[ -z "$(find "$share/home/.cache/kiln/tmp" -mindepth 1)" ] || fail "left in the store: $(ls "$share/home/.cache/kiln/tmp")"
