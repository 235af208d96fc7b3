#!/usr/bin/env bash
# A check fails where its service is masked, and where another daemon answers on its port: exit status 1, the report is
# published and the image is not.
# label: guest
# needs: minimal
# timeout: 2400
. "$(dirname "$0")/common.inc"

# failed_checks FILE: names of the checks that ran and failed, sorted, one a line.
failed_checks() {
  python3 -c 'import sys, xml.etree.ElementTree as t
print("\n".join(sorted(c.get("name") for c in t.parse(sys.argv[1]).getroot().iter("testcase") if c.find("failure") is not None)))' "$1"
}

for what in masked garbage; do
  out=$work/$what
  # A proof waits a share of it for what never comes.
  kiln build "tests/e2e/profiles/$what-services.yml" --timeout 180 --output "$out"
  expect_status 1
  says 'NOT PROVEN'
  [ ! -e "$out/$what-services.qcow2" ] || fail "an unproven image was published"
  failed_checks "$out/junit.xml" >"$work/failed-$what"
  for port in '22 ssh' '80 http' '443 https'; do
    grep -q -x -F "port $port" "$work/failed-$what" || fail "port $port passed: $(cat "$out/junit.xml")"
  done
  says 'port 22'
done
grep -q -x -F 'port 25 smtp' "$work/failed-masked" || fail "port 25 smtp passed"
