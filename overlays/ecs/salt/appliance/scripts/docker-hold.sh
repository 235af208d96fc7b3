#!/bin/sh
# While dockerd starts it takes the ways to published ports away and makes them anew. What nginx and stunnel ask for meanwhile
# would be refused; held back, it is asked for once more a second later, and nobody loses a request.
# usage: docker-hold.sh on | off
set -eu
table='table ip ecs-docker-start'

case ${1-} in
  on)
    nft -f - <<END
$table
delete $table
$table {
  chain output {
    # behind docker's own rules (-100): what they have sent on to a container is not addressed to loopback any more
    type filter hook output priority 0;
    oif "lo" ip daddr 127.0.0.1 tcp dport { 5000, 5025, 5090, 5095 } tcp flags & (fin | syn | rst | ack) == syn drop
  }
}
END
    ;;
  off)
    nft -f - <<END
$table
delete $table
END
    ;;
  *)
    echo "usage: docker-hold.sh on | off" >&2
    exit 2
    ;;
esac
