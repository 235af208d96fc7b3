#!/usr/bin/env bash
# What an environment brings of its own: packages, files and states are there after a highstate, and a second one changes nothing.
# label: soak
# timeout: 3600
. "$(dirname "$0")/machine.inc"
# shellcheck source=stand-in.inc
. "$(dirname "$0")/stand-in.inc"

highstate() { guest salt-call --local --retcode-passthrough --out=json state.highstate 2>/dev/null; }
unchanged() { highstate | python3 -c 'import json, sys; sys.exit(any(state["changes"] for state in json.load(sys.stdin)["local"].values()))'; }
content_is() { [ "$(guest cat "$1")" = "$2" ]; }
stat_is() { [ "$(guest stat -c '%a %U:%G' "$1")" = "$2" ]; }

keep_environment
environment "{appliance: {extra: {packages: [curl], files: [{path: /opt/extra-test/a, content: \"a: 'b' {{ x }} #\\n\", owner: 'app:app', permissions: '0600'}],
  states: \"/opt/extra-test/b:\\n  file.managed:\\n    - contents: b\\n\"}}}"
guest env-update.sh >/dev/null
check 'a highstate with packages, files and states' highstate
check 'the file is what was written' content_is /opt/extra-test/a "a: 'b' {{ x }} #"
check 'with its owner and mode' stat_is /opt/extra-test/a '600 app:app'
check 'the state is applied' content_is /opt/extra-test/b b
check 'a second highstate changes nothing' unchanged
guest rm -r /opt/extra-test
environment_back
finish_checks
