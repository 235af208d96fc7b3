#!/usr/bin/env bash
# Packages installed natively and packages installed in the guest leave the same content: nginx and PostgreSQL.
# label: guest
# needs: minimal
# timeout: 1800
. "$(dirname "$0")/common.inc"

need_root "the native way, and it compares mounted images"
cat >"$work/equal.yml" <<END
extends: $top/profiles/minimal.yml
steps:
  - id: equal
    packages:
      install: [nginx, postgresql]
END
same_by_either_way "$work/equal.yml" equal
