#!/usr/bin/env bash
# `kiln boot --settled`: the first boot of an image is kept, all others resume it. Each finds the same machine, draws random
# numbers of its own, says that it is no proof, and leaves image, verdict and what is kept as they were.
# label: boot
# needs: minimal
# timeout: 900
. "$(dirname "$0")/common.inc"

image=$kept/minimal/minimal.qcow2
# A store of its own, with the verdict of the cold boot.
mkdir -m 0700 "$work/store"
cp -a "$store/machine" "$store/verdicts" "$store/lock" "$store/users" "$work/store/"
store=$work/store
sum=$(sha256sum "$image" | cut -d ' ' -f 1)
verdicts() { (cd "$store/verdicts" && find . -type f -exec sha256sum {} + | sort); }
guest=$store/settled/$sum-bios
before=$(verdicts)
[ -n "$before" ] || fail "there is no verdict of $image"
# settled COMMAND...: runs it in the guest; how long that took is for people.
settled() {
  local began=$SECONDS
  kiln boot --settled "$image" --events "$work/events" -- "$@"
  echo "it took $((SECONDS - began)) s"
}
does() { grep -q "\"what\":\"$1\"" "$work/events"; }
# shellcheck disable=SC2016 # the guest's shell is meant
look='echo "I am $(id -un)"; date +%s; od -An -N16 -tx1 /dev/urandom | tr -d " "; test ! -e /root/made && echo clean; touch /root/made; sync'

settled sh -c "$look"
expect_status 0
{ does 'keeping the settled guest' && does 'resuming the settled guest'; } || fail "the first run kept no guest"
says '^I am root$'
says '^clean$'
first=$(sed -n 3p "$work/out")
[ "$(stat -c %a "$guest" "$guest/key" "$guest/memory.zst" | tr '\n' ' ')" = '700 400 400 ' ] || fail "others may read it"
inside=$(find "$guest" -type f -exec sha256sum {} + | sort)

settled sh -c "$look"
expect_status 0
does 'resuming the settled guest' || fail "nothing was resumed"
! does 'keeping the settled guest' || fail "it was booted all the same"
says '^clean$'
second=$(sed -n 3p "$work/out")
[ ${#first} = 32 ] || fail "these are no 16 bytes: $first"
[ "$first" != "$second" ] || fail "two guests drew the same random numbers: $first"
clock=$(sed -n 2p "$work/out")
[ $(($(date +%s) - clock)) -le 60 ] || fail "the guest's clock stands at $clock"

# Words come out as they went in, standard input goes in, and a status that is not 0 is told.
status=0
# shellcheck disable=SC2016 # nothing is to be expanded here
printf 'from outside' | "$KILN" boot --settled "$image" --store "$store" -- sh -c 'cat; echo " $1|$2"; exit 7' x "a  b" '$(id)' \
  >"$work/out" 2>"$work/err" || status=$?
expect_status 1
[ "$(cat "$work/out")" = "from outside a  b|\$(id)" ] || fail "something came out otherwise"
says 'ended with status 7'

# The checks, by ports the system chose for this QEMU. The image may lie elsewhere by now.
mkdir "$work/moved"
cp --reflink=auto "$image" "$kept/minimal/image.json" "$work/moved/"
kiln boot --settled "$work/moved/minimal.qcow2" --json --output "$work/reports" --events "$work/events"
expect_status 0
! does 'keeping the settled guest' || fail "the same image elsewhere was booted anew"
[ "$(json "$work/out" '[(v["resumed"], v["passed"], v["proven"]) for v in it["verdicts"]]')" = '[(True, True, False)]' ] ||
  fail "the verdict is not marked"
[ "$(json "$work/out" '[c["passed"] for v in it["verdicts"] for c in v["checks"] if c["kind"] == "port"]')" = '[True]' ] ||
  fail "no port was looked at"
grep -q '<property name="resumed" value="true"/>' "$work/reports/junit.xml" || fail "junit.xml is not marked"

leaves_nothing 5
[ "$(find "$guest" -type f -exec sha256sum {} + | sort)" = "$inside" ] || fail "what is kept was written to"
[ "$(verdicts)" = "$before" ] || fail "a verdict was written"
echo "$sum  $image" | sha256sum -c --status || fail "the image was written to"
kiln cache ls --json
[ "$(json "$work/out" 'it["totals"]["settled guests"]["count"]')" = 1 ] || fail "cache ls does not tell of it"
