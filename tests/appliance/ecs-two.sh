#!/usr/bin/env bash
# Two appliances that write to each other: each answers the other's mail once, and neither answers an answer. After five minutes
# nothing more was sent, and no queue holds anything.
# shellcheck disable=SC2016
# label: soak
# needs: application
# timeout: 5400
# cores: 2
machine_state=ecs
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$here/stand-in.inc"
# shellcheck source=ecs.inc
. "$here/ecs.inc"
declare -F second >/dev/null || skip 'there is one machine only'
at_end=leave_ecs
other_domain=ecs.example.net
address() { echo "$guest4"; }
other4=$(second address)

# the second one, which is new, beside the first
second boot_guest
start_ecs
start_second() {
  guest sh -c 'umask 077; echo "{}" >/run/extra.yml; kiln-env create --force --extra /run/extra.yml "$1" /app/env.yml >/dev/null; rm /run/extra.yml' sh $other_domain
  guest appliance-start
}
check 'the second appliance starts' second start_second
second_green() { curl -ksS --max-time 60 --resolve "$other_domain:443:$other4" "https://$other_domain/status.json" | jq -e '.all == true'; }
wait_for 240 'all of its parts are green' second_green

# each knows by whom the other's domain takes mail: there is no name server
mail_to() { # DOMAIN ADDRESS
  guest postconf -e "transport_maps=inline:{ { $1 = smtp:[$2]:25 } }"
  guest postfix reload 2>/dev/null
}
mail_to $other_domain "$other4"
second mail_to $domain "$guest4"

# a person at the one writes to the other, by its own postfix: as a container hands mail in
write_to() { # FROM TO SUBJECT
  guest sh -c 'printf "From: %s\nTo: %s\nSubject: %s\nMessage-ID: <%s@person.test>\nDate: Thu, 01 Jan 2026 12:00:00 +0000\n\nA question.\n" "$1" "$2" "$3" "$3" | sendmail -f "$1" "$2"' sh "$@"
}
check 'one writes to the other' write_to office@$domain office@$other_domain "one-$$"
check 'and the other to the one' second write_to office@$other_domain office@$domain "other-$$"

got() { [ "$(sql "select count(*) from mail_message where direction = 'in' and message_id = '<$1@person.test>'")" = 1 ]; }
wait_for 120 'the other has it' second got "one-$$"
wait_for 120 'the one too' got "other-$$"
# the answer to its own mail comes to each, and is a mail too
answered() { [ "$(sql "select count(*) from mail_message where direction = 'in' and in_reply_to <> ''")" -ge 1 ]; }
wait_for 180 'the answer comes back to the one' answered
wait_for 180 'and to the other' second answered

sleep 300
sent_once() {
  local sent
  sent=$(sql "select count(*) from mail_message where direction = 'out'")
  echo "$sent answers"
  [ "$sent" = 1 ]
}
nothing_waits() {
  guest postqueue -p
  guest postqueue -p | grep -q 'queue is empty' && [ "$(sql "select count(*) from mail_message where state in ('queued', 'sending')")" = 0 ]
}
check 'five minutes later the one has sent one answer' sent_once
check 'and the other has' second sent_once
check 'nothing waits at the one' nothing_waits
check 'nor at the other' second nothing_waits

finish_checks
