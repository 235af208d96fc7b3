#!/usr/bin/env bash
# A highstate on the finished, booted image finds nothing to do: 0 changed, 0 failed.
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
kiln boot "$kept/ecs-bookworm/ecs-bookworm.qcow2" --profile "$work/again.yml" --output "$work/second"
expect_status 0
