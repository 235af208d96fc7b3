#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2119 # what is quoted is for the guest's shell
# The firewall from its other sides: a neighbour with routes to containers and to ports published on loopback, as a namespace and as
# another guest on the same link; containers that reach what they may and nothing else, the metadata of a cloud, restarts of firewall and docker in both orders, the order at boot.
# Each refusal is shown to be the firewall's: with its table gone, the same thing works.
# Needs busybox-static.
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
. "$here/containers.inc"
. "$here/neighbour.inc"

leave() {
  guest sh -c 'docker rm -f test-web; systemctl stop test-http test-metadata; systemctl reload appliance-firewall; rm -rf /run/test-http' >/dev/null 2>&1
  remove_neighbour
  remove_image
}
at_end=leave

bare() { guest nft delete table inet ecs; }                    # no firewall
covered() { guest systemctl reload appliance-firewall; }       # and again
refused() { ! "$@"; }
# only_by_firewall DESCRIPTION COMMAND...: fails with the firewall and works without
only_by_firewall() {
  local what=$1
  shift
  check "$what: refused" refused "$@"
  bare
  check "  (by the firewall: without it, it works)" "$@"
  covered
}

make_image
make_neighbour
guest sh -c 'mkdir -p /run/test-http && echo hello >/run/test-http/index.html
  docker run -d --name test-web --restart=always --network bridge -p 127.0.0.1:18025:80 kiln-test httpd -f -p 80 -h /www >/dev/null
  systemctl reset-failed test-http test-metadata 2>/dev/null
  systemd-run -q --unit=test-http /usr/bin/python3 -m http.server --directory /run/test-http --bind 0.0.0.0 18080
  systemd-run -q --unit=test-metadata ip netns exec test-neighbour /usr/bin/python3 -m http.server --directory /run/test-http --bind 0.0.0.0 80'
container=$(guest docker inspect -f '{{.NetworkSettings.IPAddress}}' test-web)

get_here() { guest curl -sf -m 5 "$1" | grep -q hello; }
get_as() { guest setpriv --reuid="$1" --regid="$1" --clear-groups curl -sf -m 5 "$2" | grep -q hello; }
by=neighbour
get_near() { "$by" curl -sf -m 5 "$1" | grep -q hello; }
get_contained() { guest timeout 8 docker exec test-web wget -q -O - "$1" | grep -q hello; }
container_connects() { # ADDRESS PORT
  guest timeout 20 docker exec test-web sh -c "nc -w 5 $1 $2 </dev/null >/dev/null"
}

wait_for 60 "a published port works on loopback" get_here http://127.0.0.1:18025/
wait_for 60 "the stand-in for the metadata answers root" get_here http://169.254.169.254/

# neighbours
refused_to() { # WHO ADDRESS: the machine's, as they see it
  only_by_firewall "$1 with a route to a container" get_near "http://$container/"
  only_by_firewall "$1 to a port published on loopback" get_near http://127.0.0.1:18025/
  only_by_firewall "$1 to a port of the host that is not public" get_near "http://$2:18080/"
  only_by_firewall "$1 to postfix on the bridge" "$by" timeout 5 bash -c 'exec 3<>/dev/tcp/172.17.0.1/25'
  check "$1 to a public port: allowed" "$by" timeout 5 bash -c "exec 3<>/dev/tcp/$2/443"
}
refused_to "a neighbour" $near4
check "a neighbour to a public port, IPv6: allowed" neighbour timeout 5 bash -c "exec 3<>/dev/tcp/$near6/443"
check "a neighbour's ping: answered, IPv4 and IPv6" neighbour sh -c "ping -c 1 -W 5 $near4 && ping -c 1 -W 5 $near6"

# a guest on the same link, with nothing of the appliance's network on it
if declare -F second >/dev/null; then
  second boot_guest
  link=tap0 # what machine.inc calls the two
  ip link add test-switch address "$(ip -o link show $link | sed 's/.*link.ether \([^ ]*\).*/\1/')" type bridge
  for link in tap0 tap1; do
    ip -4 -o address show dev $link | while read -r _ _ _ address _; do
      ip address del "$address" dev $link
      ip address add "$address" dev test-switch
    done
    ip link set $link master test-switch
  done
  ip link set test-switch up
  second guest sh -c '
    set -eu
    systemctl stop docker.socket docker
    nft delete table inet ecs
    ip link del docker0
    link=$(ip -o route get "$2" | sed "s/.* dev \([^ ]*\).*/\1/")
    ip address add "$3/24" dev $link
    ip route add 172.17.0.0/16 via "$1" src "$3"
    # the loopback address of somebody else
    sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.$link.route_localnet=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.$link.rp_filter=0
    ip rule add pref 10 lookup local
    ip rule del pref 0
    ip rule add pref 5 to 127.0.0.1 ipproto tcp dport 18025 lookup 100
    ip route add default via "$1" src "$3" table 100' sh "$guest4" "$host4" "${guest4%.*}.3"
  near_guest() { second guest "$@"; }
  by=near_guest
  refused_to "a guest on the same link" "$guest4"
  by=neighbour
else
  echo 'skip  a guest on the same link: there is one machine only'
fi

# containers
check "a container to postfix: allowed" container_connects 172.17.0.1 25
check "a container to the world: allowed" get_contained http://$neighbour4/
only_by_firewall "a container to another port of the host" get_contained http://172.17.0.1:18080/
only_by_firewall "the same by the uplink's address" get_contained "http://$guest4:18080/"
check "a container to ssh of the host: refused" refused container_connects 172.17.0.1 22
check "a container to the web frontend by the public address: allowed" container_connects "$guest4" 443

# metadata
only_by_firewall "a container to the metadata" get_contained http://169.254.169.254/
only_by_firewall "app to the metadata" get_as app http://169.254.169.254/
check "root to the metadata: allowed" get_as root http://169.254.169.254/

# restarts
both_work() { get_here http://127.0.0.1:18025/ && get_contained http://$neighbour4/ && container_connects 172.17.0.1 25; }
still_refused() { refused get_near "http://$container/" && refused get_near http://127.0.0.1:18025/; }
for order in "appliance-firewall docker" "docker appliance-firewall" "nftables docker"; do
  for unit in $order; do guest systemctl restart "$unit"; done
  container=$(guest docker inspect -f '{{.NetworkSettings.IPAddress}}' test-web)
  wait_for 60 "restart of $order: published ports and containers work" both_work
  check "and neighbours are refused as before" still_refused
done
guest systemctl stop appliance-firewall
check "a firewall that was stopped is still there" still_refused
guest systemctl start appliance-firewall
kept() {
  guest sh -c 'nft list ruleset 2>/dev/null >/run/test-http/before; systemctl restart appliance-firewall; nft list ruleset 2>/dev/null >/run/test-http/after
    for f in before after; do sed -i "/^table inet ecs/,/^}/d; s/counter packets .* bytes [0-9]*//" /run/test-http/$f; done
    test -s /run/test-http/after && diff /run/test-http/before /run/test-http/after'
}
check "a restart leaves docker's tables as they are" kept
broken_keeps_old() {
  guest sh -c 'cp -p /etc/nftables.conf /run/test-http/rules; echo "nonsense" >>/etc/nftables.conf
    systemctl reload appliance-firewall; status=$?; cp -p /run/test-http/rules /etc/nftables.conf
    [ $status != 0 ] && nft list table inet ecs >/dev/null'
}
check "rules that are wrong are an error, and the old ones stay" broken_keeps_old
docker_waits() { # without the table docker does not start, so that nothing is forwarded
  guest sh -c 'systemctl stop docker.socket docker; nft delete table inet ecs
    systemctl start docker; status=$?
    systemctl reload appliance-firewall; systemctl reset-failed docker docker.socket; systemctl start docker.socket docker
    [ $status != 0 ]'
}
check "without its table docker does not start" docker_waits
check "flush ruleset occurs nowhere" guest sh -c '! systemctl cat appliance-firewall nftables docker | grep "flush ruleset" && ! grep -r "flush ruleset" /etc /usr/local/share/appliance --include=*nft* --include=*.sh --include=*.service'

# the order at boot: in place before there is a network, and before anything listens
at() { guest systemctl show -p "$2" --value "$1"; }
first() {
  local unit own other
  own=$(at appliance-firewall ExecMainExitTimestampMonotonic)
  guest systemctl show -p Before --value appliance-firewall | grep -q network-pre.target || return 1
  for unit in systemd-networkd ssh nginx docker; do
    other=$(at "$unit" InactiveExitTimestampMonotonic)
    echo "$unit $other, firewall $own"
    [ "$other" = 0 ] || [ "$own" -lt "$other" ] || return 1
  done
}
reboot_guest
check "at boot the firewall is up before the network" first
check "and has not failed" guest systemctl is-active appliance-firewall
container=$(guest docker inspect -f '{{.NetworkSettings.IPAddress}}' test-web)
wait_for 60 "after a reboot published ports work" get_here http://127.0.0.1:18025/

finish_checks
