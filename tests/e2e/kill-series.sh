#!/usr/bin/env bash
# kill -9 at many points of a build: after each nothing is left running or mounted, and the same build then goes on and
# succeeds; after every tenth and the last the content is that of a build nobody disturbed.
#
#   KILN_KILLS=50    how many; phases take turns: in a stage, digest, fsync, rename, export, publish, in a guest
#   KILN_SEED=...    printed; the same seed gives the same series
# Progress is kept in build/e2e/kill-series: started again with the same seed it goes on behind the last kill.
# label: soak
# needs: soak-minimal
# timeout: 10800
. "$(dirname "$0")/common.inc"

need_root "looks for mounts and loop devices, and compares mounted images"
kills=${KILN_KILLS:-50}
progress=$kept/kill-series
mkdir -p "$progress"
seed=${KILN_SEED:-$(cat "$progress/seed" 2>/dev/null || date +%s)}
[ "$(cat "$progress/seed" 2>/dev/null)" = "$seed" ] || { echo "$seed" >"$progress/seed"; echo 0 >"$progress/done"; }
done_before=$(cat "$progress/done")
echo "seed $seed, $kills kills, $done_before done before"

# random MAX: a number below MAX that depends on seed and round alone.
random() { printf '%d' $((0x$(printf '%s' "$seed $round $1" | sha256sum | cut -c 1-12) % $1)); }

own_store
tree=$work/tree
mkdir -p "$tree/srv"
phases=(stage digest fsync rename export publish fsync rename stage guest)

profile() { # NAME WITH-GUEST
  cat >"$work/$1.yml" <<END
description: round $round
extends: $here/profiles/salt.yml
steps:
  - id: round
    overlay:
      tree: $tree
  - id: more
    packages:
      install: [jq]
END
  [ -z "$2" ] || printf '  - salt_highstate:\n      tree: %s\n' "$here/states/passes" >>"$work/$1.yml"
}

# event PATTERN: the events file has a line that matches, or the build has ended.
event() { grep -q -E -e "$1" "$work/events" || ! kill -0 "$child" 2>/dev/null; }
pause() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }

# killed_at PHASE: starts the build and kills it there.
killed_at() {
  local trace=()
  case $1 in
    fsync) trace=(strace -qq -o /dev/null -e "inject=fsync,fdatasync:signal=KILL:when=$((1 + $(random 40)))") ;;
    rename) trace=(strace -qq -o /dev/null -e "inject=rename,renameat,renameat2:signal=KILL:when=$((1 + $(random 40)))") ;;
  esac
  : >"$work/events"
  setsid "${trace[@]}" "$KILN" build "$work/killed.yml" --no-boot --store "$store" --output "$work/built" \
    --events "$work/events" >"$work/out" 2>"$work/err" </dev/null &
  child=$!
  case $1 in
    stage) wait_for 120 "a step" event '"step_begins".*"step":"(round|more|seal)"'; pause "$(random 9000)" ;;
    digest) wait_for 300 "a layer" event '"keeping the layer"'; pause "$(random 400)" ;;
    export) wait_for 300 "the export" event '"step_begins".*"step":"export_qcow2"'; pause "$(random 8000)" ;;
    publish) wait_for 300 "the publication" event '"publishing '; pause "$(random 300)" ;;
    guest) wait_for 300 "the guest" event '"booting the guest'; pause "$(random 90000)" ;;
    *) while kill -0 "$child" 2>/dev/null; do sleep 0.2; done ;;
  esac
  kill -KILL "$child" 2>/dev/null || true
  ended
}

struck=0
missed=0
declare -A by_phase
for ((round = done_before; round < kills; ++round)); do
  phase=${phases[round % ${#phases[@]}]}
  echo "$round" >"$tree/srv/round"
  guest=''
  [ "$phase" != guest ] || guest=1
  profile killed "$guest"
  killed_at "$phase"
  case $status in
    137) struck=$((struck + 1)); by_phase[$phase]=$((${by_phase[$phase]:-0} + 1)) ;;
    0) missed=$((missed + 1)) ;; # it was faster
    *) fail "round $round, $phase: exit status $status" ;;
  esac
  wait_for 10 "the end of all children (round $round, $phase)" only_files_left
  kiln build "$work/killed.yml" --no-boot --output "$work/built" --json
  expect_status 0
  leaves_nothing 5
  qemu-img check -q "$work/built/killed.qcow2" || fail "round $round: the published image is damaged"
  [ -z "$(find "$work/built" -name '*kiln-part*')" ] || fail "round $round: a part is left in the output"
  if [ $((round % 10)) = 9 ] || [ $((round + 1)) = "$kills" ]; then
    disturbed=$work/built/killed.qcow2
    shared=$store
    only_the_base
    kiln build "$work/killed.yml" --no-boot --output "$work/undisturbed"
    expect_status 0
    rm -rf "$store"
    store=$shared
    same_content "$disturbed" "$work/undisturbed/killed.qcow2"
  fi
  echo $((round + 1)) >"$progress/done"
  # Rounds leave layers that nobody needs again.
  rm -rf "$work/built"
done
echo "$struck of $((kills - done_before)) builds were killed: $(for phase in "${!by_phase[@]}"; do printf '%s %s, ' "$phase" "${by_phase[$phase]}"; done)seed $seed"
# A kill by hand may come too late, now and then; not as a rule, and in no phase always.
[ $((missed * 4)) -le $((kills - done_before)) ] || fail "$missed kills came too late"
if [ "$done_before" = 0 ] && [ "$kills" -ge 50 ]; then
  for phase in "${phases[@]}"; do
    [ "${by_phase[$phase]:-0}" -ge 3 ] || fail "only ${by_phase[$phase]:-0} kills in phase $phase"
  done
fi
