#!/usr/bin/env bash
# report.html is read in a real browser: all its parts are there and can be seen, and it asks for nothing outside.
# label: guest
# needs: minimal
# timeout: 300
. "$(dirname "$0")/common.inc"

out=$work/report
kiln build minimal --output "$out" --json
expect_status 0
[ -s "$out/report.html" ] || fail "no report.html in the output"
python3 -c 'import sys, xml.etree.ElementTree as t; t.parse(sys.argv[1])' "$out/report.html" || fail "not well-formed"

# browse PAGE OPTION...: in a browser that finds no host; its log has what it asked for.
browse() {
  local page=$1
  shift
  timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
    --host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir="$work/browser" --log-net-log="$work/log.json" "$@" \
    "file://$page" >"$work/dom" 2>"$work/err" || fail "the browser failed"
}
# asked_for: what the page itself asked for. The browser's own questions have no origin.
asked_for() {
  json "$work/log.json" '"\n".join({p["url"] for p in (e.get("params", {}) for e in it["events"])
    if p.get("initiator", "not an origin") != "not an origin" and p.get("url", "").startswith("http")})'
}

echo '<img src="http://outside.example/"/>' >"$work/control.html"
browse "$work/control.html" --dump-dom
[ "$(asked_for)" = http://outside.example/ ] || fail "what a page asks for is not seen"

browse "$out/report.html" --dump-dom
[ -z "$(asked_for)" ] || fail "the report asks for $(asked_for)"
while IFS= read -r step; do
  grep -q -F "<b>$step</b>" "$work/dom" || fail "the report has no step '$step'"
done < <(json "$work/out" '"\n".join(s["id"] for s in it["builds"][0]["steps"])')
for part in steps proof sizes use; do
  grep -q -F "<section id=\"$part\">" "$work/dom" || fail "the report has no part '$part'"
done
for text in '>Proven</p>' '>/usr<' 'src="data:image/png;base64,iVBOR' 'login:'; do
  grep -q -F -e "$text" "$work/dom" || fail "the report does not show '$text'"
done
grep -q -F "$(sha256sum "$out/minimal.qcow2" | cut -d ' ' -f 1)" "$work/dom" || fail "it is about another image"

# An empty page of that size has a few kilobytes.
for width in 420 1200; do
  browse "$out/report.html" --window-size="$width,3000" --screenshot="$work/$width.png"
  [ "$(stat -c %s "$work/$width.png")" -gt 60000 ] || fail "nothing is seen at $width pixels"
done
