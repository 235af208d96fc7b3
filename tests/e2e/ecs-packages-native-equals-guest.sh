#!/usr/bin/env bash
# The whole package list of ecs-bookworm, installed natively and in the guest, leaves the same content.
# label: soak
# needs: soak-ecs
# timeout: 3600
. "$(dirname "$0")/common.inc"

need_root "the native way, and it compares mounted images"
same_by_either_way ecs-bookworm packages
