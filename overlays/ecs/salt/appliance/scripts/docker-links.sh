#!/bin/sh
# Opens the ways of links again after dockerd has started: with live-restore it finds containers running and makes all its rules
# anew but these, and with icc off a container would not reach what it is linked to. The rules are those that dockerd makes and
# takes away itself when a container starts and ends.
set -eu
ids=$(docker ps --quiet)
[ -n "$ids" ] || exit 0

rule() { # each once
  iptables -w -C DOCKER "$@" 2>/dev/null || iptables -w -A DOCKER "$@"
}

# a line a port: who asks, who answers, protocol, port
# shellcheck disable=SC2086 # words
docker inspect $ids | jq --raw-output '
  (map({(.Name): .}) | add) as $named | .[]
  | .NetworkSettings.IPAddress as $asks
  | .HostConfig.Links // [] | map(split(":")[0]) | unique[]
  | $named[.] // empty
  | .NetworkSettings.IPAddress as $answers
  | .NetworkSettings.Ports // {} | keys[] | split("/")
  | select($asks != "" and $answers != "")
  | "\($asks) \($answers) \(.[1]) \(.[0])"' |
  while read -r asks answers protocol port; do
    rule -s "$asks" -d "$answers" -i docker0 -o docker0 -p "$protocol" --dport "$port" -j ACCEPT
    rule -s "$answers" -d "$asks" -i docker0 -o docker0 -p "$protocol" --sport "$port" -j ACCEPT
  done
