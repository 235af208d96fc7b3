#!/usr/bin/env bash
# All mistakes of a profile at once, each with its place; exit status 2; nothing is built.
# label: guest
# timeout: 60
. "$(dirname "$0")/common.inc"

kiln check tests/e2e/profiles/bad.yml
expect_status 2
says 'bad\.yml:4:[0-9]+: .*suit.*did you mean .suite.'
says 'bad\.yml:5:[0-9]+: .*3cows'
says 'bad\.yml:7:[0-9]+: .*no/such/tree'
says 'bad\.yml:9:[0-9]+: .*pakages.*did you mean .packages.'
says 'bad\.yml:13:[0-9]+: .*tree'
kiln build tests/e2e/profiles/bad.yml --output "$work/built"
expect_status 2
[ ! -e "$work/built" ] || fail "something was built"
kiln bild minimal
expect_status 2
kiln check minimol
expect_status 2
says 'did you mean .minimal.'
kiln check minimal
expect_status 0
