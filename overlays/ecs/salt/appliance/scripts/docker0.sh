#!/bin/sh
# Makes the bridge docker0 with its address, for services that start before dockerd and listen there; dockerd takes the bridge
# as it finds it. A bridge without ports has no carrier, but its address is local as soon as it is up.
set -eu

# dockerd without a proxy lets the bridge lead to loopback (route_localnet), so that what this machine sends to a published port
# comes to its container. What a container sends there is another matter, and first of all dropped.
nft -f - <<'END'
table ip ecs-docker0
delete table ip ecs-docker0
table ip ecs-docker0 {
  chain prerouting {
    type filter hook prerouting priority -300;
    iifname "docker0" ip daddr 127.0.0.0/8 drop
  }
}
END

[ -e /sys/class/net/docker0 ] || ip link add name docker0 type bridge
ip link set dev docker0 up
ip address replace 172.17.0.1/16 broadcast 172.17.255.255 dev docker0
