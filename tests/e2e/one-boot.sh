#!/usr/bin/env bash
# Consecutive guest steps share one boot and leave a layer each; the guest that settled is kept, and a later build of them
# resumes it. What comes of it is what comes of a boot for each, and a database that ran in the guest was shut down before
# its disk was cut.
# label: guest
# needs: salt
# timeout: 1800
. "$(dirname "$0")/common.inc"

need_root "compares mounted images, and installs natively what the guest then runs"
own_store
rm -rf "$store/settled"
quiet_databases "$work/quiet"
cat >"$work/boots.yml" <<END
description: two guest steps in a row
extends: $here/profiles/salt.yml
steps:
  - id: quiet
    overlay: {tree: $work/quiet}
  - id: database
    packages: {install: [postgresql]}
  - id: first
    salt_highstate: {tree: $here/states/passes}
  - id: second
    salt_highstate: {tree: $here/states/passes, into: /opt/second, minion_id: second}
END
kiln build "$work/boots.yml" --until database --output "$work/built"
expect_status 0

both() { # OPTION...
  kiln build "$work/boots.yml" --until second --from first --output "$work/built" --json --events "$work/events" "$@"
  expect_status 0
  first=$(layer_of first)
  second=$(layer_of second)
}
does() { grep -c "\"what\":\"$1\"" "$work/events" || true; }

both
[ "$(does 'starting QEMU')" = 1 ] || fail "$(does 'starting QEMU') boots for two steps"
[ "$(does 'keeping the settled guest')" = 1 ] || fail "the guest was not kept"
[ "$(does 'resuming the settled guest')" = 1 ] || fail "the second step resumed a guest of its own"

both
[ "$(does 'starting QEMU')" = 0 ] || fail "a guest was booted although one was kept"
[ "$(does 'resuming the settled guest')" = 1 ] || fail "no guest was resumed, or two"
[ "$(does "cutting the guest's disk")" = 1 ] || fail "no disk was cut"
shared_first=$first
shared_second=$second

# The layer between the two is as after a clean shutdown, although it was cut in a running guest.
qemu-img convert -O raw "$store/layers/$shared_first/image.qcow2" "$work/raw"
offset=$(($(sfdisk -J "$work/raw" | python3 -c 'import json, sys
print(next(p["start"] for p in json.load(sys.stdin)["partitiontable"]["partitions"] if p["node"].endswith("raw1")))') * 512))
e2fsck -fn "$work/raw?offset=$offset" >"$work/fsck" 2>&1 || { cat "$work/fsck"; fail "the layer's file system is not clean"; }
dumpe2fs -h "$work/raw?offset=$offset" >"$work/head" 2>&1
grep -q 'Filesystem state: *clean$' "$work/head" || fail "not clean: $(grep 'Filesystem state' "$work/head")"
! grep -q needs_recovery "$work/head" || fail "the journal was left to be replayed"
debugfs -R "dump /var/lib/postgresql/15/main/global/pg_control $work/pg_control" "$work/raw?offset=$offset" 2>/dev/null
# The state stands behind the cluster's identifier (8 bytes) and two versions (4 each); 1 is DB_SHUTDOWNED.
[ "$(od -An -t u4 -j 16 -N 4 "$work/pg_control" | tr -d ' ')" = 1 ] || fail "the database was not shut down"
rm "$work/raw"

both --cold-boot
[ "$(does 'starting QEMU')" = 2 ] || fail "--cold-boot did not boot each"
[ "$first" != "$shared_first" ] || fail "nothing was built"
same_content "$store/layers/$shared_first/image.qcow2" "$store/layers/$first/image.qcow2"
same_content "$store/layers/$shared_second/image.qcow2" "$store/layers/$second/image.qcow2"
