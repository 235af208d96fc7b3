#!/usr/bin/env bash
# e2e.env-kills with a hundred kills.
#
#   KILN_KILLS=100   how many
#   KILN_SEED=...    printed; the same seed gives the same series
# label: soak
# timeout: 1800
set -euo pipefail
export KILN_KILLS=${KILN_KILLS:-100} KILN_SEED=${KILN_SEED:-$(date +%s)}
exec bash "$(dirname "$0")/env-kills.sh"
