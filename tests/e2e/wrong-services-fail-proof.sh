#!/usr/bin/env bash
# A port passes on bytes of its protocol: an image whose services are masked, and whose other ports answer garbage, is not
# proven, and not published; each of them is named.
# label: guest
# needs: minimal
# timeout: 1500
. "$(dirname "$0")/common.inc"

# A proof waits a share of it for what never comes.
kiln build tests/e2e/profiles/wrong-services.yml --timeout 180 --output "$work/built" --events "$work/events"
expect_status 1
says 'NOT PROVEN'
says 'port 22'
tail -n 1 "$work/events" | grep -q '"exit":1,"error":"wrong-services is not proven: .* (and [0-9]* more)"' ||
  fail "the events do not end with what failed: $(tail -n 1 "$work/events")"
[ ! -e "$work/built/wrong-services.qcow2" ] || fail "an unproven image was published"
python3 -c 'import sys, xml.etree.ElementTree as t
print("\n".join(sorted(c.get("name") for c in t.parse(sys.argv[1]).getroot().iter("testcase") if c.find("failure") is not None)))' \
  "$work/built/junit.xml" >"$work/failed"
for port in '22 ssh' '25 smtp' '80 http' '443 https' '465 tls' '2022 ssh' '2025 smtp' '2080 http' '2443 https' '2465 tls'; do
  grep -q -x -F "port $port" "$work/failed" || fail "port $port passed: $(cat "$work/built/junit.xml")"
done
