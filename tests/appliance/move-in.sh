#!/usr/bin/env bash
# What /data holds moves to an empty disk whole, whenever it is killed and how often: a disk without a mark of the move is either
# empty or has everything. No machine is needed: the function of storage.sh runs on two folders.
# shellcheck disable=SC2034 # moving is move_in's
# label: boot
# timeout: 600
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$here/../../overlays/ecs/salt/appliance/scripts/storage.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

from=$work/from to=$work/to
mkdir -p "$from"
for n in $(seq 40); do
  mkdir "$from/folder $n"
  for file in $(seq 25); do echo "$n $file" >"$from/folder $n/$file"; done
done
ln -s "folder 1" "$from/link"
: >"$from/.hidden"
chmod 0751 "$from"
moving=$(sed -n 's/^moving=\([^ ]*\).*/\1/p' "$program")
[ -n "$moving" ] || fail "storage.sh names no mark"

# its own process group, so that cp dies with it
cat >"$work/run.sh" <<END
set -euo pipefail
moving=$moving
die() { echo "\$1" >&2; exit 1; }
sync() { :; }
$(sed -n '/^move_in() {/,/^}/p' "$program")
move_in "\$1" "\$2" >/dev/null
END
same() { diff -r --no-dereference "$from" "$to" >"$work/diff" 2>&1 && [ "$(stat -c '%a %u %g' "$from")" = "$(stat -c '%a %u %g' "$to")" ]; }
marked() { compgen -G "$to/$moving*" >/dev/null; }

rounds=0 kills=0 marks=0
while [ $rounds -lt 5 ]; do
  rm -rf "$to"
  mkdir "$to"
  for delay in $(seq 0 30); do
    setsid bash "$work/run.sh" "$from" "$to" &
    child=$!
    sleep "0.0$(printf %02d $(((delay * 7 + rounds * 3) % 60)))"
    kill -KILL -- "-$child" 2>/dev/null && kills=$((kills + 1))
    wait "$child" 2>/dev/null || true
    if marked; then
      marks=$((marks + 1))
    elif [ -n "$(ls -A "$to")" ]; then
      same || { cat "$work/diff"; fail "half of it, and no mark"; }
      break
    fi
  done
  rm -rf "${to:?}"
  mkdir "$to"
  # and one that is left alone after a kill comes to its end
  setsid bash "$work/run.sh" "$from" "$to" &
  child=$!
  sleep "0.0$(printf %02d $((rounds * 12)))"
  kill -KILL -- "-$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
  if marked || [ -z "$(ls -A "$to")" ]; then bash "$work/run.sh" "$from" "$to" || fail "it does not go on"; fi
  same || { cat "$work/diff"; fail "what came to its end is not the same"; }
  ! marked || fail "a mark is left"
  rounds=$((rounds + 1))
done
[ $marks -gt 10 ] || fail "only $marks kills hit a move: the test sees nothing"
echo "$kills kills, $marks in the middle; never half"
