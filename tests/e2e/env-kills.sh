#!/usr/bin/env bash
# kiln-env killed with -9 at seeded system calls, itself and what it started: no secret is left outside the files it was to
# write, and no process lives on.
#
#   KILN_KILLS=45    how many
#   KILN_SEED=...    the same seed gives the same series; e2e.env-kill-series has another each time
#   KILN_ENV=...     the program; default build/release/bin/kiln-env
#
# Where a secret could be left is made small first. In a mount namespace all disks are read-only to the program but for
#   disk       a small file system in a file, written through at once, that also is /tmp, /var/tmp, /dev/shm, /run and HOME:
#              the raw file is searched, and so all that was ever deleted there; memory is a disk like any other here
#   outputs    where the named outputs go: they hold the secrets, so only the names and modes are looked at, and that what
#              is there is the old or a whole new file; nameless files go with the process that had them open
#   keyring    of the one who packs and recovers: GnuPG's own
# Swap is not searched: this script has the secrets in its own memory; where there is swap, its end says so. A process
# namespace shows who lives on. Of an environment that no one has seen, as create was killed, the text is known by
# a canary in its --extra and the keys by their forms.
# label: guest
# timeout: 900
set -euo pipefail

if [ "${1:-}" != inside ]; then
  . "$(dirname "$0")/common.inc"
  need_root "mounts a small file system of its own"
  status=0
  KILN_ENV=${KILN_ENV:-$top/build/release/bin/kiln-env} unshare --mount --pid --fork --mount-proc --propagation private \
    bash "$0" inside "$work" || status=$?
  [ "$status" = 0 ] || fail "see above"
  exit 0
fi

work=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kills=${KILN_KILLS:-45}
seed=${KILN_SEED:-20261127}
echo "seed $seed, $kills kills"
fail() {
  echo "FAIL: $*"
  exit 1
}

mount --bind "$work" "$work" # stays writable when all else is not
disk=$work/disk out=$work/outputs
mkdir "$disk" "$out"
new_disk() {
  rm -f "$work/image"
  truncate -s 32M "$work/image"
  mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=0 "$work/image"
  mount -o loop,sync,nodelalloc "$work/image" "$disk"
  mkdir -m 0700 "$disk/home"
  chmod 1777 "$disk"
}
# found SECRET... -- FILE...: one is there, in whatever form; where is printed.
found() {
  local status=0
  (cd "$work" && python3 "$here/find-canary.py" "$@") || status=$?
  case $status in
    0) return 1 ;;
    3) ;;
    *) fail "the search ended with status $status" ;;
  esac
}

canary=canary$(printf '%s' "$seed" | sha256sum | cut -c 1-32)
export HOME=$work/home TMPDIR=$work/home GNUPGHOME=$work/keyring LC_ALL=C.UTF-8
mkdir -m 0700 "$HOME" "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key safe@example.org default default never 2>"$work/err"
# Made before there is a disk on which it would be found.
given=$work/given
mkdir -m 0700 "$given"
printf 'appliance: {git: {branch: %s}}\n' "$canary" >"$given/extra.yml"
gpg --armor --export >"$given/gpgkeys.txt"
echo safe@example.org >"$given/emailto.txt"
"$KILN_ENV" create --extra "$given/extra.yml" ecs.example.org "$given/env.yml" >"$work/log"
cp "$given"/{env.yml,gpgkeys.txt} "$HOME/"
"$KILN_ENV" package "$HOME/env.yml" >"$work/log"
mv "$HOME"/env.yml.pdf "$given/"
mv "$HOME"/*.gpg "$given/env.tar.gz.gpg"
pdftoppm -r 150 -gray -png -f 2 -l 3 "$given/env.yml.pdf" "$given/page" 2>"$work/err"
rm -r "$HOME"

# What stands in an environment, and keys as OpenSSL and GnuPG write them; how PDFs, gzip in base32 (what the first code
# holds) and pictures of pages begin.
pdftoppm -r 150 -gray -f 2 -l 2 "$given/env.yml.pdf" "$given/scan" 2>"$work/err"
pdftoppm -r 300 -gray -f 2 -l 2 "$given/env.yml.pdf" "$given/fine" 2>"$work/err"
size_of() { sed -n 2p "$1" | head -c 20; } # a picture's points, as PNM has them
secrets=("$canary" "PRIVATE KEY-----" "(private-key" "11:private-key" "SECRET_KEY = '" "%PDF-1." D6FQQAAAAAAA
  "$(size_of "$given"/scan-*.pgm)" "$(size_of "$given"/fine-*.pgm)")
mapfile -t -O "${#secrets[@]}" secrets < <(grep -E "^ *SECRET_KEY = |^ *REGISTRATION_SECRET = " "$given/env.yml" | cut -d "'" -f 2)
# Of each code a piece, and of each key a line of its private half, as bytes too: DER and OpenPGP's numbers have no header of
# their own. Of 2048 bits the private exponent begins behind 277 bytes of PKCS#1, and behind 276 or so of OpenPGP.
zbarimg -q --raw -Sdisable -Sqrcode.enable "$given"/page-*.png 2>"$work/err" >"$given/codes"
mapfile -t pieces < <(cut -c 100-159 "$given/codes" | grep -E '^.{60}$')
[ "${#pieces[@]}" -gt 3 ] || fail "no codes were read"
secrets+=("${pieces[@]}")
dkim=$(grep -A 8 'BEGIN RSA' "$given/env.yml" | tail -n 1 | tr -d ' ')
openpgp=$(grep -A 9 'BEGIN PGP PRIVATE' "$given/env.yml" | sed -n 10p | tr -d ' ')
as_bytes() { printf 'hex:%s' "$(base64 -d <<<"$1" | od -An -v -tx1 | tr -d ' \n')"; }
for line in "$dkim" "$openpgp"; do
  [ "${#line}" = 64 ] || fail "no line of a key: '$line'"
  secrets+=("$line" "$(as_bytes "$line")")
done

# The search finds what was deleted, in each form.
planted() { # WHAT SECRET, from standard input
  new_disk
  cat >"$disk/planted"
  rm "$disk/planted"
  sync -f "$disk"
  found "$2" -- image >"$work/where" || fail "the search does not find $1 that was deleted"
  umount "$disk"
}
printf 'appliance: %s' "$canary" | planted "a text" "$canary"
printf 'x%s' "$canary" | gzip -c | planted "something packed" "$canary"
planted "a printed page" "$canary" <"$given/env.yml.pdf"
printf 'xy%s' "$canary" | base32 -w 0 | planted "base32" "$canary"
planted "what the codes hold" D6FQQAAAAAAA <"$given/codes"
planted "what a later code holds" "${pieces[-1]}" <"$given/codes"
{ echo key && base64 -d <<<"$dkim"; } | planted "a key's bytes" "$(as_bytes "$dkim")"
planted "a page" "$(size_of "$given"/scan-*.pgm)" < <(cat "$given"/scan-*.pgm)
planted "a fine page" "$(size_of "$given"/fine-*.pgm)" < <(cat "$given"/fine-*.pgm)
new_disk

mount -t tmpfs -o mode=0700 outputs "$out"
while read -r target; do
  case $target in "$work" | "$work"/*) ;; *) mount -o remount,bind,ro "$target" ;; esac
done < <(findmnt -rn --real -o TARGET)
# Where the checkout itself lies below one of these, that one stays, read-only.
for place in /tmp /var/tmp /dev/shm /run; do
  case $work/ in "$place"/*) ;; *) mount --bind "$disk" "$place" ;; esac
done
if touch "$here/writable" 2>/dev/null; then fail "the rest of the disk is not read-only"; fi

export HOME=$disk/home TMPDIR=$disk
mkdir -m 0700 "$work/mail"
/usr/bin/python3 "$here/../fakes/mail_server.py" "$work/mail" &
server=$!
until [ -s "$work/mail/port" ]; do kill -0 "$server" || fail "the mail server ended"; sleep 0.1; done

# prepare DEED: the outputs as they are before it; sets $words.
prepare() {
  find "$out" -mindepth 1 -delete
  case $1 in
    create) words=(create --extra "$given/extra.yml" ecs.example.org "$out/env.yml") ;;
    force)
      words=(create --force --extra "$given/extra.yml" ecs.example.org "$out/env.yml")
      cp "$given/env.yml" "$out/"
      ;;
    package | again)
      words=(package "$out/env.yml")
      cp -p "$given/env.yml" "$given/gpgkeys.txt" "$out/"
      [ "$1" = package ] || install -m 0600 "$given/env.yml.pdf" "$out/"
      ;;
    mail)
      words=(package --smtp "smtp://127.0.0.1:$(cat "$work/mail/port")" "$out/env.yml")
      cp -p "$given/env.yml" "$given/gpgkeys.txt" "$given/emailto.txt" "$out/"
      ;;
    update) words=(update --active "$out/active-env.yml") ;;
    scans) words=(recover -o "$out/env.yml" "$given"/page-*.png) ;;
    pdf) words=(recover -o "$out/env.yml" "$given/env.yml.pdf") ;;
    tarball)
      words=(recover --force -o "$out/env.yml" "$given/env.tar.gz.gpg")
      cp "$given/env.yml" "$out/"
      ;;
  esac
}
export ENV_YML=$given/env.yml # for `update`
deeds=(create force package again mail update pdf scans tarball)
calls=execve,clone,clone3,vfork,openat,read,write,pread64,pwrite64,lseek,newfstatat,fchmod,fsync,flock,linkat,rename,renameat,renameat2
calls+=,unlink,unlinkat,mkdir,mkdirat,rmdir,close,mmap,ftruncate,memfd_create,connect,sendto,wait4,exit_group

# traced WORD...: strace with these on the deed in the background; its process is $tracer.
traced() {
  : >"$work/trace"
  # A shell of its own, which says "Killed" to its stderr rather than to ours.
  (strace -f -qq -o "$work/trace" "$@" "$KILN_ENV" "${words[@]}" || exit) >"$work/log" 2>"$work/err" </dev/null &
  tracer=$!
}
# What of the deed runs: this script, what it runs now, and GnuPG's agent of the keyring were there before.
alive() {
  local pid
  for pid in /proc/[0-9]*; do
    pid=${pid#/proc/}
    case " $old_ones $BASHPID " in *" $pid "*) ;; *) ! [ -s "/proc/$pid/cmdline" ] || echo "$pid" ;; esac
  done 2>/dev/null
}
# ended: waits for the deed, and at most thirty seconds longer for what it started; sets $status.
ended() {
  local main='' polls=0
  while kill -0 "$tracer" 2>/dev/null; do
    sleep 0.05
    [ -n "$main" ] || main=$(head -n 1 "$work/trace" | cut -d ' ' -f 1)
    if [ -n "$main" ] && ! kill -0 "$main" 2>/dev/null; then polls=$((polls + 1)); fi
    [ "$polls" -lt 600 ] || fail "alive thirty seconds after kiln-env: $(for pid in $(alive); do tr '\0' ' ' <"/proc/$pid/cmdline"; done)"
  done
  status=0
  wait "$tracer" || status=$?
}
old_ones=$(cd /proc && echo [0-9]*)

# How often each call is made, by the one that makes it most often.
for deed in "${deeds[@]}"; do
  prepare "$deed"
  traced -e "trace=$calls"
  ended
  [ "$status" = 0 ] || fail "$deed: exit status $status: $(cat "$work/err")"
  awk '{ call = $2; sub(/\(.*/, "", call); if (call ~ /^[a-z0-9_]+$/) n[$1 " " call]++ }
    END { for (key in n) { split(key, part, " "); if (n[key] > most[part[2]]) most[part[2]] = n[key] }
      for (call in most) print call, most[call] }' "$work/trace" | sort >"$work/calls-$deed"
  # Oftener those at which names come and go.
  grep -E '^(linkat|rename|unlink|fsync)' "$work/calls-$deed" >"$work/names"
  cat "$work/names" "$work/names" >>"$work/calls-$deed"
done
random() { printf '%d' $((0x$(printf '%s' "$seed $round $attempt $2" | sha256sum | cut -c 1-12) % $1)); }

# no_secret_left WHERE
no_secret_left() {
  local file
  sync -f "$disk"
  ! found "${secrets[@]}" -- image >"$work/where" || fail "$1: a secret is on the disk: $(cat "$work/where"), $(find "$disk" -type f)"
  for file in "$out"/* "$out"/.[!.]*; do
    [ -e "$file" ] || continue
    case ${file##*/} in
      gpgkeys.txt | emailto.txt) continue ;;
      env.yml | active-env.yml | env.yml.pdf | env-cidata.iso | ecs.example.org.env.*.tar.gz.gpg) ;;
      .env.yml.kiln-part | .env.yml.pdf.kiln-part | .env-cidata.iso.kiln-part | .active-env.yml.kiln-part | .ecs.example.org.env.*.tar.gz.gpg.kiln-part)
        parts=$((parts + 1))
        ;;
      *) fail "$1: left beside the outputs: $file" ;;
    esac
    [ "$(stat -c %a "$file")" = 600 ] || fail "$1: others may read $file"
  done
  [ ! -e "$out/active-env.yml" ] || cmp -s "$out/active-env.yml" "$given/env.yml" || fail "$1: active-env.yml is no whole one"
  [ ! -e "$out/env.yml" ] || cmp -s "$out/env.yml" "$given/env.yml" ||
    "$KILN_ENV" check "$out/env.yml" >"$work/log" 2>&1 || fail "$1: env.yml is neither the old nor a new one"
  case $deed in force | package | again | mail | tarball) [ -e "$out/env.yml" ] || fail "$1: env.yml is gone" ;; esac
}

struck=0 whole=0 parts=0 begin=$SECONDS
for ((round = 0; round < kills; ++round)); do
  deed=${deeds[round % ${#deeds[@]}]}
  for attempt in 1 2 3 4 5 none; do
    [ "$attempt" != none ] || break
    mapfile -t known <"$work/calls-$deed"
    read -r call most <<<"${known[$(random ${#known[@]} call)]}"
    where="round $round, $deed, $call $((1 + $(random "$most" when))) of $most"
    prepare "$deed"
    before=$parts
    traced -e "trace=execve,$call" -e "inject=$call:signal=KILL:when=$((1 + $(random "$most" when)))"
    ended
    no_secret_left "$where"
    ! grep -q 'killed by SIGKILL' "$work/trace" || break
  done
  [ "$attempt" != none ] || fail "$where: was not killed"
  struck=$((struck + 1))
  [ "$status" != 137 ] || whole=$((whole + 1))
  if [ "$parts" != "$before" ]; then # the next run removes it
    case $deed in create | pdf | scans) words=("${words[0]}" --force "${words[@]:1}") ;; esac
    "$KILN_ENV" "${words[@]}" >"$work/log" 2>"$work/err" || fail "$where: the next run: $(cat "$work/err")"
    [ -z "$(find "$out" -name '*.kiln-part')" ] || fail "$where: the next run leaves $(find "$out" -name '*.kiln-part')"
  fi
done
kill "$server"
wait "$server" 2>/dev/null || true
[ -z "$(alive)" ] || fail "alive at the end: $(for pid in $(alive); do tr '\0' ' ' <"/proc/$pid/cmdline"; done)"
[ "$whole" -gt 0 ] || fail "none of $kills hit kiln-env itself"
echo "$struck killed, $whole of them kiln-env itself, the others what it had started; $parts parts left and removed by the next run;" \
  "seed $seed, $((SECONDS - begin)) s"
[ "$(wc -l </proc/swaps)" -le 1 ] || echo "this machine has swap, which was not searched"
