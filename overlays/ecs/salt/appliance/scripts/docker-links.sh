#!/bin/sh
# Keeps the ways of links as the containers are. dockerd itself makes and takes away these rules, but with icc off a container is
# not reached any more once it came back with another address, what it asked from stays open for whoever gets its old one, and
# after a restart of dockerd with live-restore there are none. (/etc/hosts of those who ask it does rewrite.)
# usage: docker-links.sh [follow]    follow: whenever a container starts or ends, until dockerd ends
set -eu

# the rules that there should be, as iptables prints them: two a port, there and back. An engine that does not answer says nothing
# about them, which is not the same as none.
# shellcheck disable=SC2086 # words
wanted() {
  ids=$(docker ps --quiet) || return 1
  [ -n "$ids" ] || return 0
  # one that has ended since is missing, and no reason to fail
  containers=$(docker inspect $ids 2>/dev/null) || docker version >/dev/null || return 1
  printf '%s\n' "$containers" | jq --raw-output '
    (map({(.Name): .}) | add) as $named | .[]
    | .NetworkSettings.IPAddress as $asks
    | .HostConfig.Links // [] | map(split(":")[0]) | unique[]
    | $named[.] // empty
    | .NetworkSettings.IPAddress as $answers
    | .NetworkSettings.Ports // {} | keys[] | split("/")
    | select($asks != "" and $answers != "")
    | "-s \($asks)/32 -d \($answers)/32 -i docker0 -o docker0 -p \(.[1]) -m \(.[1]) --dport \(.[0]) -j ACCEPT",
      "-s \($answers)/32 -d \($asks)/32 -i docker0 -o docker0 -p \(.[1]) -m \(.[1]) --sport \(.[0]) -j ACCEPT"'
}

# those that there are: nothing but links leads from docker0 to docker0
present() {
  rules=$(iptables -w -S DOCKER) || return 1
  printf '%s\n' "$rules" | sed -n 's/^-A DOCKER \(-s .* -i docker0 -o docker0 .*\)$/\1/p'
}

# shellcheck disable=SC2086 # words
put_right() {
  should=$(wanted) || return 1
  is=$(present) || return 1
  printf '%s\n' "$should" | while IFS= read -r rule; do
    [ -z "$rule" ] || printf '%s\n' "$is" | grep -Fqxe "$rule" || iptables -w -A DOCKER $rule || return 1
  done || return 1
  printf '%s\n' "$is" | while IFS= read -r rule; do
    # dockerd may have been quicker
    [ -z "$rule" ] || printf '%s\n' "$should" | grep -Fqxe "$rule" || iptables -w -D DOCKER $rule 2>/dev/null || true
  done
}

case ${1-} in
  '') put_right ;;
  follow)
    # a look of its own first, when events are heard already
    { echo start; exec docker events --filter type=container --filter event=start --filter event=die --format '{{.Status}}'; } |
      while read -r _; do
        # a look that failed changes nothing, and is no reason to end
        put_right || { sleep 1; put_right; } || echo 'the ways of links could not be looked at' >&2
      done
    ;;
  *)
    echo 'usage: docker-links.sh [follow]' >&2
    exit 2
    ;;
esac
