#!/bin/sh
# image-lock.sh [--check] PROJECT...: builds Maven projects and writes the sha256 of each foreign file of their trees to
# PROJECT/image.lock, "SHA256  PATH-in-tree" by path. What comes from src/image, but for jars, and the classes compiled here are ours
# and not in it. --check writes nothing and fails when something differs. After a version in a pom.xml was changed: run it, and look at what
# `git diff` says.
set -eu

check=''
if [ "${1:-}" = --check ]; then
  check=1
  shift
fi
[ $# -gt 0 ] || { echo "usage: ${0##*/} [--check] PROJECT..." >&2; exit 2; }

status=0
for project in "$@"; do
  mvn -q -B -f "$project/pom.xml" package
  tree=$project/target/image
  now=$project/target/image.lock
  (cd "$tree" && find . -type f ! -name '*.class' | sed 's|^\./||' | LC_ALL=C sort) | while IFS= read -r path; do
    case $path in
      *.jar | *.war) ;;
      *) [ ! -e "$project/src/image/$path" ] || continue ;;
    esac
    printf '%s  %s\n' "$(sha256sum <"$tree/$path" | cut -d ' ' -f 1)" "$path"
  done >"$now"
  if [ -z "$check" ]; then
    cp "$now" "$project/image.lock"
  elif ! diff -u "$project/image.lock" "$now"; then
    echo "$project: what was built is not what image.lock says" >&2
    status=1
  fi
done
exit "$status"
