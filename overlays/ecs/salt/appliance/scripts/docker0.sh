#!/bin/sh
# Makes the bridge docker0 with its address, for services that start before dockerd and listen there; dockerd takes the bridge
# as it finds it. A bridge without ports has no carrier, but its address is local as soon as it is up.
set -eu
[ -e /sys/class/net/docker0 ] || ip link add name docker0 type bridge
ip link set dev docker0 up
ip address replace 172.17.0.1/16 broadcast 172.17.255.255 dev docker0
