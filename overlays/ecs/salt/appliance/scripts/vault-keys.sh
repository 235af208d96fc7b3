#!/bin/sh
# The OpenPGP keys of the storage vault, ecs.vault_encrypt and ecs.vault_sign of the environment: laid into the folder that the
# application has for them, at each start. Another key takes the place of one that was there, which stays beside it: what is in
# the vault may need it. An environment without a key leaves all as it is.
set -eu
# shellcheck source=appliance.include
. /usr/local/share/appliance/appliance.include
# shellcheck source=certificate.include
. "$share/certificate.include"
folder=/data/ecs-gpg

# lay NAME TEXT: as app, whose folder it is: by app's own rights a link leads nowhere that app could not go
lay() {
  [ -n "$2" ] || return 0
  [ "$(read_as_app "$folder/$1.asc")" != "$2" ] || return 0
  # shellcheck disable=SC2016 # for the shell of app
  printf '%s\n' "$2" | setpriv --reuid=1000 --regid=1000 --clear-groups sh -c '
    set -eu
    umask 077
    cd "$1"
    cat >".$2.new"
    [ ! -e "$2.asc" ] || mv "$2.asc" "$2.until-$(date -u +%Y%m%dT%H%M%SZ).asc"
    sync
    mv ".$2.new" "$2.asc"' sh "$folder" "$1"
  echo "laid down $folder/$1.asc"
}

load_env ECS_VAULT_ENCRYPT ECS_VAULT_SIGN
lay vault_encrypt "$ECS_VAULT_ENCRYPT"
lay vault_sign "$ECS_VAULT_SIGN"
