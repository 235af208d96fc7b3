#!/bin/sh
# The update: state tree, highstate, packages, certificate, then a reboot or a restart of the appliance. A highstate that fails ends
# it: the tree is put back, and what runs is left alone. Another part that fails is tagged, and the rest is done.
# /app/etc/flags/force.update.PART forces a part, and goes when that is done:
#   appliance    the tree is fetched from nothing, though its commit is here already
#   system       all packages that are newer, not only those of unattended-upgrades' origins
#   docker       the packages of the docker engine, from any origin; the engine is restarted
#   postgres     the packages of PostgreSQL, from any origin
#   letsencrypt  a certificate that is not due yet
#   ecs          the application is built anew, by prepare-ecs
set -eu
# shellcheck source=../scripts/appliance.include
. /usr/local/share/appliance/appliance.include
export DEBIAN_FRONTEND=noninteractive
repository=/var/lib/appliance/appliance.git
failed=

# failed_part PART TEXT
failed_part() {
  failed="$failed $1"
  echo "$1: $2" >&2
}

# finish: what came of it, for people and metrics
finish() {
  if [ -z "$failed" ]; then
    tag last_update "$(now) $(tree_commit)"
    untag last_failed_update
  else
    tag last_failed_update "$(now) $(tree_commit), failed:$failed"
    exit 1
  fi
}

# A new tree is laid down beside the old one, and the two change places when it is whole.
update_tree() {
  load_env APPLIANCE_GIT_SOURCE APPLIANCE_GIT_BRANCH
  [ -n "$APPLIANCE_GIT_SOURCE" ] || return 0
  ! flagged appliance || rm -rf "$repository"
  git init -q --bare "$repository" || return 1
  git_fetch "$repository" "$APPLIANCE_GIT_SOURCE" "+refs/heads/$APPLIANCE_GIT_BRANCH:refs/heads/update" || return 1
  commit=$(git -C "$repository" rev-parse update) || return 1
  if [ "$commit" = "$(tree_commit)" ] && ! flagged appliance; then return 0; fi

  # a repository of the tree alone, or of all that the image is made from
  for below in '' overlays/ecs; do
    ! git -C "$repository" cat-file -e "$commit:${below:+$below/}salt/top.sls" 2>/dev/null || break
  done
  rm -rf "$other_tree" && mkdir "$other_tree" || return 1
  git -C "$repository" -c tar.umask=0022 archive --output="$run/tree.tar" "$commit:$below" || return 1
  tar -xf "$run/tree.tar" -C "$other_tree" || return 1
  rm -f "$run/tree.tar"
  [ -f "$other_tree/salt/top.sls" ] && [ -f "$other_tree/pillar/top.sls" ] || return 1
  echo "$commit" >"$other_tree/.commit" || return 1
  echo "the state tree was $(tree_commit) and is $commit now"
  # a start that finds this, and nobody at work, puts the old tree back
  echo "$commit" >"$update_running" || return 1
  exchange "$tree" "$other_tree" || { rm -f "$update_running"; return 1; }
}

update_packages() {
  apt-get -q update -o APT::Update::Error-Mode=any || return 1
  unattended-upgrade || return 1
  if flagged system; then
    apt-get -qy -o Dpkg::Options::=--force-confold upgrade || return 1
    unflag system
  fi
}

# upgrade_packages PART PATTERN: those installed packages whose name matches
upgrade_packages() {
  # shellcheck disable=SC2046
  apt-get -qy -o Dpkg::Options::=--force-confold install --only-upgrade $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n "s/^ii *\\($2\\)\$/\\1/p") || return 1
  unflag "$1"
}

main() {
  exec 9>"$run/update.lock"
  flock -n 9 || { echo 'an update is running' >&2; exit 1; }

  # one that was stopped by hand stays so
  stopped=
  [ "$(systemctl show -p ActiveState appliance.service)" != ActiveState=inactive ] || stopped=yes

  take_turn
  # one that a power cut ended, and no start came after
  [ ! -e "$update_running" ] || put_tree_back || failed_part appliance 'the state tree of before could not be put back'
  update_tree || failed_part appliance 'the state tree could not be fetched from appliance.git.source'
  echo 'applying the highstate'
  if ! highstate; then
    failed_part highstate 'it failed: what runs is left alone'
    if [ -e "$update_running" ]; then
      put_tree_back || failed_part appliance 'the state tree of before could not be put back'
      highstate || failed_part highstate 'that of the tree before failed too'
    fi
    finish
  fi
  rm -f "$update_running"
  unflag appliance
  # whoever restarts the appliance, this too, applies a highstate if it has to
  end_turn

  update_packages || failed_part system 'the packages could not be updated'
  if flagged docker; then
    { upgrade_packages docker 'docker.*\|containerd\|runc' && systemctl restart docker.service; } ||
      failed_part docker 'the engine could not be updated'
  fi
  if flagged postgres; then
    upgrade_packages postgres 'postgresql.*' || failed_part postgres 'PostgreSQL could not be updated'
  fi
  if [ -x "$share/appliance-certificate-renew.sh" ]; then
    "$share/appliance-certificate-renew.sh" || failed_part letsencrypt 'no new certificate'
  else
    unflag letsencrypt
  fi

  if ! may_start; then
    echo 'the appliance has failed or is on standby: nothing is restarted'
  elif [ -e /run/reboot-required ]; then
    echo 'the new packages ask for a reboot'
    (finish) || true
    systemctl --no-block reboot
    exit 0
  elif [ -n "$stopped" ]; then
    echo 'the appliance was stopped by hand and stays so'
  else
    : >"$updating_flag"
    systemctl reset-failed appliance.service 2>/dev/null || true
    systemctl daemon-reload
    systemctl restart appliance.service || failed_part restart 'the appliance did not start'
    rm -f "$updating_flag"
    [ ! -e "$etc/tags/last_failed_ecs" ] || failed_part ecs 'the new application failed: the one before goes on'
  fi
  finish
}
# the highstate may replace this file: the shell has read all of it before
main
exit
