#!/usr/bin/env bash
# A highstate on the finished, booted image finds nothing to do: 0 changed, 0 failed. And this second boot makes a
# certificate and ssh host keys of its own.
# label: boot
# needs: ecs
# timeout: 1500
. "$(dirname "$0")/common.inc"

cat >"$work/again.yml" <<END
extends: $top/profiles/ecs-bookworm.yml
proof:
  commands:
    - run: [sh, -c, "salt-call --local --retcode-passthrough --state-output=terse state.highstate | tail -n 40"]
      output: 'Succeeded: [0-9]+\nFailed: +0\n'
END
kiln boot "$kept/ecs-bookworm/ecs-bookworm.qcow2" --profile "$work/again.yml" --json --output "$work/second"
expect_status 0
fingerprint() { grep -o -E 'Fingerprint=[0-9A-F:]{95}' "$1" | sort -u; }
first=$(fingerprint "$kept/ecs-bookworm/image.json")
second=$(fingerprint "$work/out")
[ -n "$first" ] || fail "the first boot shows no certificate"
[ -n "$second" ] || fail "the second boot shows no certificate"
[ "$first" != "$second" ] || fail "both boots have the certificate $first"

keys() { grep -a -o -E 'SHA256:[A-Za-z0-9+/]{43}' "$1" | sort -u; }
[ -n "$(keys "$kept/ecs-bookworm/console.log")" ] || fail "the first boot shows no host key on its console"
[ -n "$(keys "$work/second/console.log")" ] || fail "the second boot shows no host key on its console"
same=$(comm -12 <(keys "$kept/ecs-bookworm/console.log") <(keys "$work/second/console.log"))
[ -z "$same" ] || fail "both boots have the host key $same"
