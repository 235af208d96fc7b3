#!/bin/sh
# Sees to it that docker compose is the one program that compose.lock names: nothing is done when it is there already, as in
# an image of the build, else its package is fetched. A program of another digest is never run, and replaced.
# usage: docker-compose.sh [LOCK]
set -eu
lock=${1:-/usr/local/share/appliance/compose.lock}
plugin=/usr/local/lib/docker/cli-plugins/docker-compose
# shellcheck source=../docker/compose.lock
. "$lock"

is() { # SHA256 FILE
  [ -f "$2" ] && echo "$1  $2" | sha256sum --check --status
}

is "$compose_program_sha256" "$plugin" && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curl --silent --show-error --fail --location --proto '=http,https' --max-time 600 --output "$work/deb" "$compose_url"
is "$compose_package_sha256" "$work/deb" || {
  echo "what $compose_url serves is not the package in $lock" >&2
  exit 1
}
dpkg-deb --extract "$work/deb" "$work/tree"
is "$compose_program_sha256" "$work/tree/$compose_program" || {
  echo "$compose_program of the package is not the program in $lock" >&2
  exit 1
}
mkdir -p "${plugin%/*}"
install -m 0755 "$work/tree/$compose_program" "$plugin.new"
sync "$plugin.new"
mv "$plugin.new" "$plugin"
echo "installed $plugin"
