#!/usr/bin/env bash
# `kiln build minimal`: the tutorial's profile ends in a proven image with nothing behind it.
# label: guest
# gives: minimal
# timeout: 1500
. "$(dirname "$0")/common.inc"

out=$kept/minimal
rm -rf "$out"
kiln build minimal --output "$out"
expect_status 0
for file in minimal.qcow2 image.json junit.xml console.log screen.png report.html; do
  [ -s "$out/$file" ] || fail "no $file in the output"
done
qemu-img info --output=json "$out/minimal.qcow2" >"$work/info"
[ "$(json "$work/info" '"backing-filename" in it')" = False ] || fail "the image has a backing file"
[ "$(json "$work/info" 'it["format-specific"]["data"]["compression-type"]')" = zstd ] || fail "not compressed by zstd"
qemu-img check -q "$out/minimal.qcow2" || fail "qemu-img check"
sum=$(sha256sum "$out/minimal.qcow2" | cut -d ' ' -f 1)
grep -q -F "$sum" "$out/image.json" || fail "image.json does not hold the image's sha256 $sum"
file -b "$out/screen.png" | grep -q '^PNG image' || fail "screen.png is no PNG"
python3 -c 'import sys, xml.etree.ElementTree as t; r = t.parse(sys.argv[1]).getroot(); sys.exit(0 if list(r.iter("testcase")) and not list(r.iter("failure")) else 1)' \
  "$out/junit.xml" || fail "junit.xml has no test case, or a failed one"
