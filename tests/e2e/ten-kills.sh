#!/usr/bin/env bash
# Ten kills of seeded builds on minimal with Salt, one in each phase; see kills.inc.
# label: guest
# needs: salt
# timeout: 2400
. "$(dirname "$0")/common.inc"
. "$here/kills.inc"

need_root "looks for mounts and loop devices, and compares mounted images"
kill_series "$here/profiles/salt.yml" 10 1
