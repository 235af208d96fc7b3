#!/bin/sh
# Makes the role app, its database ecs and its password where they are missing. The password is made once, on the machine, and
# stands in two files of mode 0600: database.password, and database_url.env for docker compose. The role's is set from the
# first at each start, so that it fits whatever cluster the data disk brought.
set -eu
umask 077
cd /
etc=/app/etc
password=$etc/database.password
url=$etc/database_url.env

admin() { # DATABASE: runs SQL of stdin
  runuser -u postgres -- psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$1"
}

# recovery after a power cut may take its time
until echo 'select 1' | admin postgres >/dev/null 2>&1; do
  systemctl --quiet is-active 'postgresql@*' || {
    echo 'PostgreSQL does not run' >&2
    exit 1
  }
  sleep 1
done

if [ ! -s "$password" ]; then
  head -c 33 /dev/urandom | base64 | tr '+/' '-_' >"$password.new"
  sync
  mv "$password.new" "$password"
fi
text="DATABASE_URL=postgres://app:$(cat "$password")@172.17.0.1:5432/ecs"
if [ "$(cat "$url" 2>/dev/null)" != "$text" ]; then
  echo "$text" >"$url.new"
  sync
  mv "$url.new" "$url"
fi
chown root:root "$password" "$url"
chmod 0600 "$password" "$url"

# by stdin, and by a session that logs no statement, not even one that fails
admin postgres <<END
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_error_statement = 'panic';
do \$\$ begin
  if not exists (select from pg_roles where rolname = 'app') then create role app; end if;
end \$\$;
alter role app with login nosuperuser nocreatedb nocreaterole noreplication password '$(cat "$password")';
END
if [ -z "$(echo "select datname from pg_database where datname = 'ecs'" | admin postgres)" ]; then
  admin postgres <<END
create database ecs owner app template template0 encoding 'UTF8' lc_collate 'C.UTF-8' lc_ctype 'C.UTF-8';
END
fi
