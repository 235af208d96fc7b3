#!/bin/bash
# Sets what the 503 page says while the web application does not answer, until the next boot.
# usage: appliance-status TITLE [TEXT]    show this title and text
#        appliance-status --clear         back to the page the image brings
set -euo pipefail
template=/usr/local/share/appliance/503.template.html
target=/run/appliance/503.html

escape() { # text of HTML, never markup
  local text=$1
  text=${text//'&'/'&amp;'}
  text=${text//'<'/'&lt;'}
  text=${text//'>'/'&gt;'}
  text=${text//'"'/'&quot;'}
  printf '%s' "$text"
}

case ${1-} in
  --clear)
    rm -f "$target"
    exit 0
    ;;
  '' | -*)
    echo "usage: appliance-status TITLE [TEXT] | --clear" >&2
    exit 2
    ;;
esac

page=$(<"$template")
title=$(escape "$1")
text=$(escape "${2-}")
# a text that holds a placeholder's name must not be filled in: title last, and the text is split off before
before=${page%%@TEXT@*}
after=${page#*@TEXT@}
before=${before//@TITLE@/"$title"}
after=${after//@TITLE@/"$title"}

install -d -m 0755 /run/appliance
new=$(mktemp "$target.XXXXXX")
trap 'rm -f "$new"' EXIT
printf '%s%s%s\n' "$before" "$text" "$after" >"$new"
chmod 0644 "$new"
mv "$new" "$target"
