#!/usr/bin/env bash
# shellcheck disable=SC2016 # what is quoted is for the guest's shell
# A port scan from outside: 22, 25, 80, 443 and 465 are open and nothing else, on IPv4 and IPv6; no UDP service answers. Listeners
# on every address, put there for this, are not found; with the firewall's table gone they are, so the scan can find what there is.
# label: boot
# timeout: 1200
. "$(dirname "$0")/machine.inc"

leave() { guest sh -c 'systemctl stop test-tcp test-udp; rm -f /run/test-udp.py; systemctl reload appliance-firewall' >/dev/null 2>&1; }
at_end=leave

cat >"$work/udp.py" <<'END'
import selectors, socket
selector = selectors.DefaultSelector()
for port in (161, 1900, 5353, 40123):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    selector.register(sock, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        data, peer = key.fileobj.recvfrom(2000)
        key.fileobj.sendto(data, peer)
END
put "$work/udp.py" /run/test-udp.py 0644
guest sh -c 'systemctl reset-failed test-tcp test-udp 2>/dev/null
  systemd-run -q --unit=test-udp /usr/bin/python3 /run/test-udp.py
  systemd-run -q --unit=test-tcp /usr/bin/python3 -m http.server --directory /var/empty --bind :: 40123'
wait_for 60 "listeners on every address are there, and stunnel" guest sh -c '
  ss -Hltn | grep -q ":40123" && ss -Hlun | grep -q ":40123" && systemctl is-active appliance-stunnel'

public="22 25 80 443 465"
scan() { python3 "$here/scan.py" "$@" | sort -n | xargs; }
all_of() { # ADDRESS
  local found
  found=$(scan "$1")
  echo "found: $found"
  [ "$found" = "$public" ]
}
# answers ADDRESS: UDP ports that say anything
answers() {
  python3 - "$1" <<'END'
import select, socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
sockets = {}
for port in (53, 67, 68, 69, 111, 123, 137, 161, 443, 500, 514, 546, 1194, 1900, 4500, 5353, 5355, 40123):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((sys.argv[1], port))
    # a question to a name server, which others take for any text
    sock.send(bytes.fromhex("1234010000010000000000000776657273696f6e0462696e640000100003"))
    sockets[sock] = port
end = time.monotonic() + 5
while (left := end - time.monotonic()) > 0:
    for sock in select.select(list(sockets), [], [], left)[0]:
        try:
            sock.recv(2000)
            print(sockets[sock])
        except OSError as error:
            # refused is an answer too: it tells a scan that nothing is there
            print(sockets[sock], error)
        del sockets[sock]
END
}
silent() {
  answers "$1" >"$work/udp"
  cat "$work/udp"
  [ ! -s "$work/udp" ]
}

# both at once: most of it is waiting
all_of "$guest6" >"$work/six" 2>&1 &
six=$!
check "TCP on $guest4: the five public ports and nothing else ($public)" all_of "$guest4"
by_six() { wait $six || { cat "$work/six"; false; }; }
check "TCP on $guest6: the same" by_six
for address in "$guest4" "$guest6"; do check "UDP on $address: silence" silent "$address"; done

guest nft delete table inet ecs
found_bare() { [ "$(scan "$1" 40122 40123)" = 40123 ] && answers "$1" | grep -qx 40123; }
for address in "$guest4" "$guest6"; do check "without the firewall both are found on $address: the scan can see" found_bare "$address"; done
guest systemctl reload appliance-firewall
check "and with it again they are not" silent "$guest4"

# what is not public does not even listen there; 68 and 546 are the DHCP client's
guest systemctl stop test-tcp test-udp
local_only() {
  guest sh -c 'ss -Hltun' | awk '{ print $5 }' | grep -v -E '^(127\.|\[::1\]|172\.17\.0\.1:)|:(22|25|68|80|443|465|546)$' && return 1
  true
}
check "nothing but the public services listens on other than loopback and the bridge" local_only

finish_checks
