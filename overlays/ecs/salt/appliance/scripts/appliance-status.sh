#!/bin/bash
# Sets what the 503 page says while the web application does not answer, until the next boot.
# usage: appliance-status [--state starting|updating|failed|standby] TITLE [TEXT]    show this title and text
#        appliance-status --clear                back to the page the image brings; notices stay
#        appliance-status --notice NAME [TEXT]   a line beneath, whatever the title is; without a text it goes again
# The state gives the mark and the page's last line; it is `starting` when it is not told.
set -euo pipefail
template=/usr/local/share/appliance/503.template.html
refused=/usr/local/share/appliance/refused.html
run=/run/appliance
page=$run/503.html

usage() {
  sed -n '3,5s/^# //p' "$0" >&2
  exit 2
}

escape() { # text of HTML, never markup
  local text=$1
  text=${text//'&'/'&amp;'}
  text=${text//'<'/'&lt;'}
  text=${text//'>'/'&gt;'}
  text=${text//'"'/'&quot;'}
  printf '%s' "$text"
}

replace() { # FILE: becomes what comes on standard input, whole or not at all
  local new
  new=$(mktemp "$1.XXXXXX")
  if cat >"$new" && chmod 0644 "$new" && mv "$new" "$1"; then return; fi
  rm -f "$new"
  return 1
}

render() {
  local state=starting title='The appliance is starting' text='The service will be available in a few minutes.'
  local notices='' file note rest out='' refresh=20
  local foot='This page asks again every 20 seconds; nothing has to be done to get on.'
  if [ -e "$run/status" ]; then
    # first line the state, second the title, the rest is the text
    { read -r state && IFS= read -r title && text=$(cat); } <"$run/status"
  fi
  case $state in
    failed) refresh=60 foot='Those who run this appliance have to look at it. This page asks again every minute.' ;;
    standby) refresh=60 foot='Those who run this appliance have set it to standby. This page asks again every minute.' ;;
  esac
  for file in "$run"/notices.d/*.txt; do
    [ -s "$file" ] || continue
    note=$(head -c 1000 "$file")
    note=$(escape "${note//$'\n'/ }")
    notices+="<li>$note</li>"
  done
  [ -z "$notices" ] || notices="<ul>$notices</ul>"

  # place by place from the front: a value that holds a place's name is never filled in
  rest=$(<"$template")
  while [[ $rest =~ @(STATE|TITLE|TEXT|NOTICES|FOOT|REFRESH)@ ]]; do
    out+=${rest%%"${BASH_REMATCH[0]}"*}
    rest=${rest#*"${BASH_REMATCH[0]}"}
    case ${BASH_REMATCH[1]} in
      STATE) out+=$state ;;
      TITLE) out+=$(escape "$title") ;;
      TEXT) out+=$(escape "$text") ;;
      NOTICES) out+=$notices ;;
      FOOT) out+=$foot ;;
      REFRESH) out+=$refresh ;;
    esac
  done
  printf '%s%s\n' "$out" "$rest" | replace "$page"

  # whose certificate is refused may read why nobody's is taken
  if [ -n "$notices" ]; then
    out=$(<"$refused")
    printf '%s\n' "${out/'<!-- notices -->'/"$notices"}" | replace "$run/refused.html"
  else
    rm -f "$run/refused.html"
  fi
}

state=starting
if [ "${1-}" = --state ]; then
  state=${2-}
  case $state in
    starting | updating | failed | standby) shift 2 ;;
    *) usage ;;
  esac
  case ${1-} in
    -*) usage ;;
  esac
fi
install -d -m 0755 "$run" "$run/notices.d"
exec 9>"$run/status.lock"
flock 9
case ${1-} in
  --clear)
    rm -f "$run/status"
    ;;
  --notice)
    [[ ${2-} =~ ^[a-z0-9][a-z0-9-]*$ ]] || usage
    if [ -n "${3-}" ]; then
      printf '%s\n' "$3" | replace "$run/notices.d/$2.txt"
    else
      rm -f "$run/notices.d/$2.txt"
    fi
    ;;
  '' | -*) usage ;;
  *)
    printf '%s\n%s\n%s\n' "$state" "${1//$'\n'/ }" "${2-}" | replace "$run/status"
    ;;
esac
render
