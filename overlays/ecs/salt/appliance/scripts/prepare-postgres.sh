#!/bin/sh
# Makes the data of PostgreSQL ready before it starts, at each boot; what is right already is left alone.
#   - /var/lib/postgresql leads to /data/postgresql; the cluster that the package made moves there, once
#   - a cluster on the data disk is used as it is, one of an older version is upgraded, of a newer one is refused
#   - an empty data disk gets a new cluster
#   - settings that follow memory and cores go to /run/appliance/postgresql.conf
set -eu
umask 022
cd /
here=${0%/*}
data=/data/postgresql
link=/var/lib/postgresql
version=$(for program in /usr/lib/postgresql/*/bin/postgres; do basename "${program%/bin/postgres}"; done | sort -V | tail -n 1)
install -d /run/appliance

stop() { # TITLE TEXT: nothing was touched
  # for appliance-failed, which says on the page why this unit failed
  echo "$2" >/run/appliance/reason.appliance-postgres
  /usr/local/sbin/appliance-status "$1" "$2" || true
  echo "$1. $2" >&2
  exit 1
}

clusters() { # versions that /data/postgresql holds a cluster of, the newest last
  for file in "$data"/*/main/PG_VERSION; do
    [ ! -s "$file" ] || basename "${file%/main/PG_VERSION}"
  done | sort -V
}

move() { # the package's cluster to /data, unless one is there
  if systemctl --quiet is-active "postgresql@$version-main.service"; then
    systemctl stop "postgresql@$version-main.service"
  fi
  if [ -z "$(clusters)" ] && [ -s "$link/$version/main/PG_VERSION" ]; then
    install -d -o postgres -g postgres "$data" "$data/$version"
    rm -rf "$data/$version/main.new"
    cp -a "$link/$version/main" "$data/$version/main.new"
    sync
    mv "$data/$version/main.new" "$data/$version/main"
  fi
  rm -rf "$link.before"
  mv "$link" "$link.before"
}

make() { # an empty cluster
  echo "$data is empty: making a cluster"
  install -d -o postgres -g postgres "$data" "$data/$version"
  rm -rf "$data/$version/main.new"
  runuser -u postgres -- "/usr/lib/postgresql/$version/bin/initdb" --pgdata="$data/$version/main.new" \
    --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth=peer >/dev/null
  # the configuration is in /etc/postgresql
  rm "$data/$version/main.new/postgresql.conf" "$data/$version"/main.new/pg_*.conf
  sync
  mv "$data/$version/main.new" "$data/$version/main"
}

[ -L "$link" ] || [ ! -d "$link" ] || move
[ -L "$link" ] || ln -s "$data" "$link"
rm -rf "$link.before"

newest=$(clusters | tail -n 1)
if [ -z "$newest" ]; then
  make
elif [ "$newest" != "$version" ]; then
  [ "$(printf '%s\n' "$newest" "$version" | sort -V | tail -n 1)" = "$version" ] ||
    stop 'The database is newer than this appliance' \
      "The data disk holds a database of PostgreSQL $newest, this appliance has version $version. Use the newer appliance again."
  "$here/postgres-upgrade.sh" "$newest" "$version"
fi

# an image that gave postgres another number
if [ "$(stat -c %U "$data/$version/main")" != postgres ]; then
  chown -R postgres:postgres "$data"
fi

"$here/postgres-tune.sh" "$version" >/run/appliance/postgresql.conf.new
mv /run/appliance/postgresql.conf.new /run/appliance/postgresql.conf
