#!/usr/bin/env bash
# A failed state fails the build and is named with its function, file and comment; mended, the next build succeeds.
# label: guest
# needs: salt
# timeout: 1500
. "$(dirname "$0")/common.inc"

mkdir "$work/profiles"
cp -r tests/e2e/states/fails "$work/states"
sed -e "s|salt\.yml|$here/profiles/salt.yml|" -e 's|\.\./states/fails|../states|' \
  tests/e2e/profiles/salt-fails.yml >"$work/profiles/salt-fails.yml"
kiln build "$work/profiles/salt-fails.yml" --until salt_highstate --output "$work/built"
expect_status 1
says 'this breaks'
says 'cmd\.(run|wait)'
says 'fails'
says 'the reason why|exit.*3|Command .* run'
says 'failed/'
sed -i 's/exit 3/exit 0/' "$work/states/fails.sls"
kiln build "$work/profiles/salt-fails.yml" --until salt_highstate --output "$work/built"
expect_status 0
