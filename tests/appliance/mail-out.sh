#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2119 # what is quoted is for the guest's shell
# Mail to the outside: what a container hands to 172.17.0.1:25 arrives at a server outside, with a DKIM signature that dkimpy finds
# right by the record that env-create printed; what was accepted while that server is down arrives later, across a reboot;
# nobody outside gets mail relayed.
# Needs python3-aiosmtpd, python3-dkim, busybox-static.
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
. "$here/containers.inc"
. "$here/neighbour.inc"
domain=mail.example.org
port=2525

# The environment of this test is the machine's for its time: standby, so that a reboot starts nothing that is not asked for.
leave() {
  stop_sink
  remove_neighbour
  guest sh -c 'rm -f /app/env.yml /run/test-env.yml
    if [ -e /run/test-before.yml ]; then mv /run/test-before.yml /run/active-env.yml; else rm -f /run/active-env.yml; fi
    postsuper -d ALL
    salt-call --local --log-level=quiet state.sls appliance.mail' >"$work/leave" 2>&1 || cat "$work/leave"
  remove_image
}
at_end=leave

sink_pid=
start_sink() {
  # the system's Python, which has the Debian packages
  /usr/bin/python3 "$here/sink.py" "$work/sink" "$host4" $port &
  sink_pid=$!
  wait_for 20 "the server outside is up" bash -c "exec 3<>/dev/tcp/$host4/$port"
}
stop_sink() {
  [ -z "$sink_pid" ] || kill "$sink_pid" || true
  wait || true
  sink_pid=
}
# send_from_container SUBJECT: postfix's answers on stdout
send_from_container() {
  guest docker run --rm --network bridge kiln-test sh -c '
    say() { sleep 0.3; printf "%s\r\n" "$@"; }
    { sleep 1; say "EHLO container.test"; say "MAIL FROM:<ecs@'$domain'>"; say "RCPT TO:<somebody@outside.example>"; say DATA
      sleep 1; say "From: ECS <ecs@'$domain'>" "To: somebody@outside.example" "Subject: '"$1"'" "Auto-Submitted: auto-generated" "" "Mail of kiln." .
      sleep 1; say QUIT; sleep 1; } | nc 172.17.0.1 25'
}
accepted() { send_from_container "$1" >"$work/answers"; grep '^250 2.0.0 Ok: queued' "$work/answers"; }
arrived() { grep -lq "^Subject: $1" "$work"/sink/*.eml; }
verified() { /usr/bin/python3 "$here/dkim-verify.py" "$(grep -l "^Subject: $1" "$work"/sink/*.eml | head -n 1)" "$work/env.yml" $domain; }

guest sh -c '[ ! -e /run/active-env.yml ] || cp -p /run/active-env.yml /run/test-before.yml
  rm -f /app/env.yml; printf "appliance: {standby: true}\n" >/run/test-extra.yml
  env-create.sh --extra /run/test-extra.yml '$domain' /app/env.yml >/dev/null && env-update.sh >/dev/null'
guest cat /app/env.yml >"$work/env.yml"
check "the state takes the key of the environment" guest salt-call --local --retcode-passthrough state.sls appliance.mail
check "and has nothing to do the second time" guest sh -c 'salt-call --local --retcode-passthrough state.sls appliance.mail | tail -n 6 | grep -v changed='
check "the key is opendkim's alone" guest sh -c '[ "$(stat -c "%U %a" /data/etc/opendkim/default.key)" = "opendkim 600" ]'
check "the queue is on /data" guest sh -c '[ "$(readlink /var/spool/postfix)" = /data/postfix ] && [ "$(postconf -h queue_directory)" = /data/postfix ] && postfix check'
check "postfix is on loopback and the bridge only" guest sh -c '[ "$(ss -Hltnp | grep \"master\" | awk "{print \$4}" | sort | xargs)" = "127.0.0.1:25 172.17.0.1:25" ]'
make_image
guest postconf -e "relayhost=[$host4]:$port"
guest postfix reload 2>/dev/null

start_sink
check "a mail of a container is accepted" accepted "one $$"
wait_for 60 "and arrives outside" arrived "one $$"
check "signed, by dkimpy and the record of env-create" verified "one $$"
stop_sink

check "while the server outside is down, a mail is accepted" accepted "two $$"
deferred() { guest postqueue -p | grep -q 'somebody@outside.example' && ! arrived "two $$"; }
wait_for 60 "and waits in the queue" deferred
reboot_guest
wait_for 120 "postfix is up again, on the bridge too" guest sh -c 'ss -Hltn | grep -qF 172.17.0.1:25'
check "the mail waits still" deferred
start_sink
guest postqueue -f
wait_for 120 "and arrives later, across a reboot" arrived "two $$"
check "signed as well" verified "two $$"
check "and the queue is empty" guest sh -c 'postqueue -p | grep -q "queue is empty"'

# The signer: with a key nothing leaves unsigned, without one mail leaves all the same and the journal says so.
guest systemctl stop opendkim
turned_away() { send_from_container "three $$" >"$work/answers" && grep '^4[0-9][0-9] ' "$work/answers" && ! grep 'queued' "$work/answers"; }
check "with the signer down a mail is turned away for now" turned_away
guest systemctl start opendkim
printf '#cloud-config\nappliance: {standby: true, domain: %s}\n' $domain >"$work/keyless.yml"
put "$work/keyless.yml" /app/env.yml 0600
guest sh -c 'env-update.sh >/dev/null && salt-call --local --log-level=quiet state.sls appliance.mail >/dev/null'
check "without a key in the environment none is left on the machine" guest test ! -e /data/etc/opendkim/default.key
guest postconf -e "relayhost=[$host4]:$port"
guest postfix reload 2>/dev/null
check "and a mail is accepted" accepted "four $$"
wait_for 60 "and arrives" arrived "four $$"
unsigned() {
  ! grep -l "^Subject: four $$" "$work"/sink/*.eml | xargs grep -q '^DKIM-Signature' &&
    guest sh -c 'journalctl -b -q -t postfix/smtpd --since=-10min | grep "warning: connect to Milter service"'
}
check "unsigned, and the journal warns" unsigned

# Nobody but this machine and its containers is taken mail from. The firewall lets nobody there; postfix itself does not either.
make_neighbour
ask() { # a neighbour wants a mail relayed: postfix's answers
  neighbour timeout 15 bash -c '
    exec 3<>/dev/tcp/172.17.0.1/25
    { for line in "EHLO x" "MAIL FROM:<a@b.example>" "RCPT TO:<c@d.example>" QUIT; do sleep 1; printf "%s\r\n" "$line"; done >&3; } &
    cat <&3'
}
not_reached() { ! ask; }
check "a neighbour does not reach postfix" not_reached
refused_by_postfix() {
  local status=0
  guest nft delete table inet ecs
  ask >"$work/answers" || status=1
  guest systemctl reload appliance-firewall
  cat "$work/answers"
  [ $status = 0 ] && grep -q '^554 5.7.1 .*rejected' "$work/answers" && ! grep -q '^354' "$work/answers"
}
check "and without the firewall postfix itself would refuse it" refused_by_postfix

finish_checks
