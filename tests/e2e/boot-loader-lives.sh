#!/usr/bin/env bash
# In the booted image the kernel can be installed again, update-grub and grub-install work (the disk is found by the root's
# label), and the image then boots by BIOS and by UEFI with the new configuration.
# label: soak
# needs: soak-minimal
# timeout: 3000
. "$(dirname "$0")/common.inc"

kiln build tests/e2e/profiles/boot-loader.yml --output "$work/built"
expect_status 0
[ "$(json "$work/built/image.json" '[v["firmware"] for v in it["verdicts"] if v["proven"]]')" = "['bios', 'uefi']" ] ||
  fail "not proven by both kinds of firmware"
