#!/usr/bin/env bash
# The page that nginx shows while no backend answers: its words for each state, as text and never as markup, with status 503 for
# whatever is asked. SHOTS=FOLDER keeps pictures of it, for people to look at.
# label: boot
# timeout: 1200
. "$(dirname "$0")/machine.inc"
. "$(dirname "$0")/web.inc"
restore() {
  guest sh -c "rm -f /run/appliance/status; [ ! -e /run/status.test ] || mv /run/status.test /run/appliance/status
    appliance-status --notice test-one; appliance-status --notice test-two"
}
at_end=restore
guest sh -c "[ ! -e /run/appliance/status ] || cp /run/appliance/status /run/status.test"

answers 503 "$url4/" || fail "a backend answers: this test is for a machine without"
status() { guest appliance-status "$@"; }
page() { ask "$url4/" >"$work/page"; }
holds() { grep -qF -- "$1" "$work/page"; }
shot() { # NAME: the page as it is now, on a phone and a desk, light and dark
  local size colour
  [ -n "${SHOTS-}" ] || return 0
  for size in 390,844 1280,800; do
    for colour in light dark; do
      # shellcheck disable=SC2046
      chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/chromium" --window-size=$size \
        $([ $colour = light ] || echo --blink-settings=preferredColorScheme=0) \
        --screenshot="$SHOTS/$1-${size%,*}-$colour.png" "file://$work/page.html" >/dev/null 2>&1
    done
  done
}

status --clear
page
check "without a word from anyone the appliance is starting" holds "<h1>The appliance is starting</h1>"
for method in GET HEAD POST PUT DELETE OPTIONS; do
  arguments=(-X "$method")
  [ $method != HEAD ] || arguments=(-I)
  [ $method != POST ] || arguments=(-d "some=data")
  check "$method is answered by 503" answers 503 "${arguments[@]}" "$url4/"
done
for path in /pdf-as-web/Sign /bkuonline/ /static/x.css /a/b/c?d=e /index.php; do
  check "$path is answered by 503" answers 503 "$url4$path"
done
check "on IPv6 too" answers 503 "$url6/"
check "by HTTP/1.1 too" answers 503 --http1.1 "$url4/"
check "a POST gets the page too" says "<h1>The appliance is starting</h1>" -d x "$url4/"
ask -D "$work/headers" -o /dev/null "$url4/"
for header in 'retry-after: 20' 'cache-control: no-store' 'content-type: text/html; charset=utf-8' 'strict-transport-security: max-age=31536000' \
  'x-content-type-options: nosniff' "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"; do
  check "header: $header" grep -qi "^$header" "$work/headers"
done

state() { holds "<body class=\"$1\">"; }
for one in starting updating failed standby; do
  status --state $one "Title of $one" "Text of $one."
  page
  check "$one: title" holds "<h1>Title of $one</h1>"
  check "$one: text" holds "<p>Text of $one.</p>"
  check "$one: its mark" state $one
  check "$one: 503" answers 503 "$url4/"
done
check "standby does not promise to go on by itself" holds "set it to standby"
status "Only a title"
page
check "a title alone is enough, and means starting" state starting
check "nothing of the text before stays" lacks "Text of standby" "$work/page"

# shellcheck disable=SC2016
nasty='<script>alert(1)</script> & "quoted" @TITLE@ @TEXT@ @NOTICES@ %s \n $(id) `id` é'
status --state failed "T $nasty" "X $nasty
second line"
status --notice test-one "N $nasty"
page
cp "$work/page" "$work/page.nasty"
check "markup in title, text and notice is text" lacks "<script" "$work/page"
# shellcheck disable=SC2016
escaped='&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot; @TITLE@ @TEXT@ @NOTICES@ %s \n $(id) `id` é'
check "the title is there as written" holds "<h1>T $escaped</h1>"
check "the text too, and its second line" holds "<p>X $escaped"
check "the notice too" holds "<li>N $escaped</li>"
title_alone() { [ "$(grep -c '<title>' "$work/page")" = 1 ] && holds "<title>T $escaped</title>"; }
check "the window's title too" title_alone

status --state failed "The appliance could not start" "prepare-ecs.service failed: the container could not be built.
Since 06:42; the version before is kept."
status --notice test-one "The revocation list of the client certificates has expired (Nov 27 2026). No client certificate is accepted until the ECS writes a new one."
status --notice test-two "The disk for data is full."
page
check "two notices stand beneath" test "$(grep -o '<li>' "$work/page" | wc -l)" = 2
cp "$work/page" "$work/page.html"
shot failed
status --notice test-one
page
check "one is taken back, the other stays" test "$(grep -o '<li>' "$work/page" | wc -l)" = 1
status --clear
page
check "--clear leaves the notice" holds "The disk for data is full."
check "and takes the title back" holds "<h1>The appliance is starting</h1>"
status --notice test-two
page
check "without notices there is no empty list" lacks "<ul>" "$work/page"
cp "$work/page" "$work/page.html"
shot starting
status --state standby "The appliance is on standby" "It is not in use: its environment says so."
page
cp "$work/page" "$work/page.html"
shot standby

refused() { ! status "$@"; }
check "an unknown state is refused" refused --state broken "Title"
check "an unknown option is refused" refused --what
check "no title is refused" refused
check "a notice's name is no path" refused --notice ../x "Text"
many() {
  # shellcheck disable=SC2016
  guest sh -c 'for i in 1 2 3 4 5 6 7 8; do appliance-status --state failed "Title $i" "Text $i" & done; wait
    ls /run/appliance/*.html.* /run/appliance/status.[A-Za-z0-9]*' 2>/dev/null | grep -v 'status.lock' >"$work/left" || true
  page
  grep -qE '<h1>Title [1-8]</h1>' "$work/page" && [ ! -s "$work/left" ]
}
check "eight at once leave one whole page and no rest" many

finish_checks
