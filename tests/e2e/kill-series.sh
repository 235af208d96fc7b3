#!/usr/bin/env bash
# Fifty kills of seeded builds on ecs-bookworm, three and more in each phase; see kills.inc.
#
#   KILN_KILLS=50    how many
#   KILN_SEED=...    printed; the same seed gives the same series
# label: soak
# needs: soak-ecs
# timeout: 14400
. "$(dirname "$0")/common.inc"
. "$here/kills.inc"

need_root "looks for mounts and loop devices, and compares mounted images"
kill_series "$top/profiles/ecs-bookworm.yml" "${KILN_KILLS:-50}" 3
