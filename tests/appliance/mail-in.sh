#!/usr/bin/env bash
# shellcheck disable=SC2016 # what is quoted is for the guest's shell
# Mail from outside: STARTTLS on 25 and TLS on 465 lead to the receiver at 127.0.0.1:5025, plain text does not; stunnel is on the
# uplink addresses and nowhere else, follows them as they change, and waits while there is none.
# The receiver is a stand-in, started here in the machine.
# label: boot
# timeout: 1200
. "$(dirname "$0")/machine.inc"

put "$here/receiver.py" /run/test-receiver.py 0644
guest sh -c 'rm -rf /run/test-receiver; systemctl reset-failed test-receiver 2>/dev/null
  systemd-run -q --unit=test-receiver /usr/bin/python3 /run/test-receiver.py /run/test-receiver 127.0.0.1 5025'
leave() { guest sh -c 'systemctl stop test-receiver; rm -rf /run/test-receiver*'; }
at_end=leave

cat >"$work/client.py" <<'END'
import hashlib, smtplib, ssl, sys
how, host, text = sys.argv[1:4]
context = ssl._create_unverified_context()
if how == "smtps":
    client = smtplib.SMTP_SSL(host, 465, timeout=60, context=context)
else:
    client = smtplib.SMTP(host, 25, timeout=60)
if how == "starttls":
    client.ehlo("test.example")
    assert client.has_extn("starttls"), "STARTTLS is not offered"
    client.starttls(context=context)
if how != "plain":
    print("certificate", hashlib.sha256(client.sock.getpeercert(True)).hexdigest(), client.sock.version())
client.sendmail("from@test.example", ["to@test.example"], f"Subject: {text}\r\n\r\n{text}\r\n")
client.quit()
END
client() { python3 "$work/client.py" "$@"; }
arrived() { guest grep -lq "^Subject: $1" -r /run/test-receiver; }
listens() { # ADDRESS PORT, as ss writes them
  guest sh -c "ss -Hltn | awk '{print \$4}' | grep -qxF '$1:$2'"
}
fingerprint() { guest sh -c 'openssl x509 -in /app/etc/server.cert.pem -outform DER | sha256sum | cut -d" " -f1'; }
by_tls() { # HOW HOST: arrives, and the certificate is the machine's
  local mail
  mail="$1 $2 $RANDOM"
  client "$1" "$2" "$mail" >"$work/certificate" &&
    grep -q "certificate $(fingerprint) TLSv1.[23]" "$work/certificate" && arrived "$mail"
}
plain_refused() { # HOST: the session ends, and nothing arrives
  local mail="plain $RANDOM"
  ! client plain "$1" "$mail" && ! arrived "$mail"
}
main_pid() { guest systemctl show -p MainPID --value "$1"; }

wait_for 60 "the stand-in for the receiver is up" listens 127.0.0.1 5025
wait_for 60 "stunnel is up" guest systemctl is-active appliance-stunnel

for host in "$guest4" "$guest6"; do
  check "STARTTLS on 25 of $host leads to the receiver, with the machine's certificate" by_tls starttls "$host"
  check "TLS on 465 of $host leads to the receiver, with the machine's certificate" by_tls smtps "$host"
  check "plain text on 25 of $host is refused" plain_refused "$host"
done
old_tls_refused() {
  ! openssl s_client -connect "$guest4:465" -tls1_1 -cipher 'DEFAULT@SECLEVEL=0' </dev/null >/dev/null 2>&1 &&
    openssl s_client -connect "$guest4:465" -tls1_2 </dev/null >/dev/null 2>&1
}
check "TLS 1.1 is refused, 1.2 is not" old_tls_refused

none_elsewhere() { # stunnel listens on no wildcard, loopback or bridge
  guest sh -c "ss -Hltnp | grep stunnel | awk '{print \$4}'" >"$work/listens"
  [ -s "$work/listens" ] && ! grep -E '^(\*|0\.0\.0\.0|\[::\]|127\.|\[::1\]|172\.17\.|\[?fe80)' "$work/listens"
}
check "stunnel is on uplink addresses only" none_elsewhere
check "127.0.0.1:25 is postfix" guest sh -c '{ sleep 1; echo QUIT; } | timeout 20 curl -s telnet://127.0.0.1:25 | grep "^220 .* ESMTP" | grep -v receiver.test'

# By sender, as the receiver sees none: 30 connections that are open, 120 new ones in a burst, then one a second
# connected HOLD ADDRESS SOURCE...: how many of 200 connections get through, from the sources in turn; HOLD at a time, which are
# reset before the next
connected() {
  python3 - "$@" <<'END'
import socket, struct, sys, time
hold, address, sources = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
count = 0
for begin in range(0, 200, hold):
    held = []
    for number in range(hold):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.bind((sources[number % len(sources)], 0))
        one.setblocking(False)
        one.connect_ex((address, 465))
        held.append(one)
    time.sleep(4 if hold > 50 else 1)
    for one in held:
        count += one.connect_ex((address, 465)) in (0, 106)  # EISCONN
        one.close()
print(count)
END
}
through() { # LEAST MOST HOLD ADDRESS SOURCE...
  local n
  guest systemctl reload appliance-firewall
  n=$(connected "${@:3}")
  echo "$n of 200"
  [ "$n" -ge "$1" ] && [ "$n" -le "$2" ]
}
check '200 connections that one sender keeps open: the limit holds' through 30 30 200 "$guest4" "$host4"
ip -6 address add "${host6%:*}:77/64" dev "$tap" nodad
check '  and by IPv6 for all of a /64' through 30 30 200 "$guest6" "$host6" "${host6%:*}:77"
ip -6 address del "${host6%:*}:77/64" dev "$tap"
check '200 new ones, closed again: the limit of a burst holds' through 110 150 25 "$guest4" "$host4"
guest systemctl reload appliance-firewall
many() { # PORT: how many of 300 get through
  # shellcheck disable=SC2046 # a word each
  python3 "$here/scan.py" "$guest4" $(for _ in {1..300}; do echo "$1"; done) | wc -l
}
unlimited() { local n; n=$(many 443); echo "$n of 300"; [ "$n" = 300 ]; }
check "300 connections to 443 at once: mail alone is limited" unlimited
guest systemctl reload appliance-firewall

# A change of addresses. They are the machine's own affair, so this is looked at from inside.
uplink=$(guest sh -c "ip -o route get $host4" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
check "an uplink is there" test -n "$uplink"
pid=$(main_pid appliance-stunnel)
guest ip address add 198.51.100.7/32 dev "$uplink"
wait_for 30 "an address that was added is served" listens 198.51.100.7 25
guest ip address del 198.51.100.7/32 dev "$uplink"
gone() { ! listens 198.51.100.7 25; }
wait_for 30 "an address that was removed is left" gone
same_process() { [ "$pid" = "$(main_pid appliance-stunnel)" ]; }
check "stunnel was told, not restarted: open connections stay" same_process

# hundreds of changes in seconds
reloads() { guest sh -c 'journalctl -b -q -u appliance-stunnel | grep -c "Reloaded appliance-stunnel"' || true; }
follower=$(main_pid appliance-stunnel-follow) before=$(reloads)
guest bash -c "for i in {1..200}; do ip address add 198.51.100.8/32 dev $uplink; ip address del 198.51.100.8/32 dev $uplink; done; ip address add 198.51.100.9/32 dev $uplink"
wait_for 30 "after 400 changes the last one holds" listens 198.51.100.9 465
few_reloads() { local n=$(($(reloads) - before)); [ $n -ge 1 ] && [ $n -le 10 ] && [ "$follower" = "$(main_pid appliance-stunnel-follow)" ]; }
check "and stunnel was told a few times only, by the same follower" few_reloads
guest ip address del 198.51.100.9/32 dev "$uplink"

# an address that is away at the wrong moment: stunnel can't bind, and listens nowhere
guest sh -c 'sed -i "s/^accept = .*:25$/accept = 198.51.100.10:25/" /run/appliance-stunnel/stunnel.conf
  kill -HUP "$(systemctl show -p MainPID --value appliance-stunnel)"'
deaf() { ! listens "$guest4" 25 && ! listens "$guest4" 465; }
wait_for 20 "stunnel that could not bind listens nowhere" deaf
guest sh -c "/usr/local/share/appliance/stunnel-config.sh --quiet; ip address add 198.51.100.7/32 dev $uplink; ip address del 198.51.100.7/32 dev $uplink"
both() { listens "$guest4" 25 && listens "$guest4" 465; }
wait_for 30 "and is brought back by the next change" both

# No address at all, as before DHCP has answered. The way into the machine is gone meanwhile: it looks by itself.
cat >"$work/without.sh" <<'END'
exec >/run/test-receiver/without 2>&1
uplink=$1
ip address save dev "$uplink" >/run/test-receiver/addresses
ip route save dev "$uplink" >/run/test-receiver/routes
ip -6 route save dev "$uplink" >/run/test-receiver/routes6
ip address flush scope global dev "$uplink"
for i in $(seq 60); do
  sleep 0.5
  [ "$(systemctl is-active appliance-stunnel)" = active ] || break
done
echo "stunnel: $(systemctl is-active appliance-stunnel)"
echo "follower: $(systemctl is-active appliance-stunnel-follow)"
ip address restore </run/test-receiver/addresses
ip route restore </run/test-receiver/routes
ip -6 route restore </run/test-receiver/routes6
echo end
END
put "$work/without.sh" /run/test-receiver/without.sh 0644
guest systemd-run -q sh /run/test-receiver/without.sh "$uplink"
wait_for 90 "an uplink without addresses, and with them again" guest grep -q '^end' /run/test-receiver/without
check "without an address stunnel waits, and has not failed" guest grep -q '^stunnel: inactive' /run/test-receiver/without
check "and so does who starts it" guest grep -q '^follower: active' /run/test-receiver/without
served() { by_tls starttls "$guest4" && by_tls smtps "$guest6"; }
wait_for 60 "the address is back, and so is mail" served

finish_checks
