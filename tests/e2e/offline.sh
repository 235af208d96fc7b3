#!/usr/bin/env bash
# Downloads are kept: a build from nothing but them, where there is no network at all, is the same as with one; as root and,
# in the guest, as anybody: nginx and PostgreSQL installed natively and in the guest are the same content. What is missing
# is named. A guest takes what is kept and gives back what it had to fetch.
# label: soak
# needs: salt
# timeout: 1800
. "$(dirname "$0")/common.inc"

[ "$(id -u)" = 0 ] && apart=(unshare --net) || apart=(unshare --map-root-user --net)
"${apart[@]}" true || skip "no network namespace can be made here"
quiet_databases "$work/quiet"
cat >"$work/offline.yml" <<END
extends: $top/tests/e2e/profiles/salt.yml
steps:
  - id: quiet
    overlay: {tree: $work/quiet}
  - id: small
    packages:
      install: [jq]
  - id: equal
    packages:
      install: [nginx, postgresql]
END
profile=$work/offline.yml

# offline ARGUMENTS...: a build without any network interface that is up.
offline() {
  echo "\$ unshare --net kiln build --offline $*"
  status=0
  "${apart[@]}" "$KILN" build --offline --store "$store" --output "$work/built" "$@" >"$work/out" 2>"$work/err" \
    </dev/null || status=$?
}

own_store
rm -rf "$store/settled"
kiln build "$profile" --until equal --output "$work/built" --json
expect_status 0
online=$store/layers/$(layer_of equal)/image.qcow2
mv "$store/layers" "$work/layers"
rm -rf "$store/stages" "$store/artifacts"
online=$work/layers/${online#"$store/layers/"}

mv "$store/packages/lists" "$work/lists"
offline "$profile" --until small
expect_status 1
says "error: --offline: the store does not keep the package lists of bookworm; build once without --offline"
says "running step 'base_debian'"
rm -rf "$store/packages/lists"
mv "$work/lists" "$store/packages/lists"

offline "$profile" --until equal --json
expect_status 0
[ "$(json "$work/out" '[s["reused"] for s in it["builds"][0]["steps"]].count(True)')" = 0 ] || fail "a layer was left"
if [ "$(id -u)" = 0 ]; then same_content "$online" "$store/layers/$(layer_of equal)/image.qcow2"; fi
rm -rf "$work/layers"

rm "$store"/packages/debs/*_jq_*
offline "$profile" --from small --until small
expect_status 1
says "offline.yml:[0-9:]+ --offline: the store does not keep jq_[^ ]*\.deb; build once without --offline"
says "running step 'small'"

# The guest: with a network it has to fetch one package, and the lists; without it, nothing.
libjq=$(stat -c %Y "$store"/packages/debs/*_libjq1_*)
rm "$store"/packages/lists/*
kiln build "$profile" --from small --until small --rootless --output "$work/built"
expect_status 0
[ -s "$(echo "$store"/packages/debs/*_jq_*)" ] || fail "the guest gave nothing back"
[ "$(stat -c %Y "$store"/packages/debs/*_libjq1_*)" = "$libjq" ] || fail "the guest fetched what it was given"
offline "$profile" --from small --until equal --rootless --json
expect_status 0
in_guest=$store/layers/$(layer_of equal)/image.qcow2
offline "$profile" --from small --until equal --json
expect_status 0
if [ "$(id -u)" = 0 ]; then same_content "$in_guest" "$store/layers/$(layer_of equal)/image.qcow2"; fi
leaves_nothing 5
