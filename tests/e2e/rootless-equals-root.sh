#!/usr/bin/env bash
# What root gets by mounting a layer and what anybody gets by libguestfs is the same: overlay, units, seal.
# label: soak
# needs: soak-minimal
# timeout: 1500
. "$(dirname "$0")/common.inc"

need_root "the mounted way, and it compares mounted images"
same_by_either_way minimal seal
