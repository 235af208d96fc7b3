#!/usr/bin/env bash
# `kiln build --on-error shell`: where a step failed, in its guest or its sandbox, a terminal gets a shell; limits do not
# count while somebody looks around, ^C is the shell's, and the build ends with the failure's own status.
# label: guest
# needs: minimal
# timeout: 1500
. "$(dirname "$0")/common.inc"

own_store
profile=tests/e2e/profiles/no-such-package.yml
kiln build "$profile" --on-error shell
expect_status 2
says 'standard input is none'
kiln build "$profile" --on-error sell
expect_status 2
says "did you mean 'shell'"

# looks_around WHERE OPTION...: builds at a terminal, and in the shell says where it is.
looks_around() {
  local where=$1
  shift
  echo "\$ kiln build $profile --on-error shell $* (at a terminal)"
  status=0
  python3 - "$work/err" "$KILN" build "$profile" --store "$store" --output "$work/built" --on-error shell "$@" >"$work/out" <<'EOF' || status=$?
import os, pty, re, select, sys, termios, time

pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "dumb"
    os.execv(sys.argv[2], sys.argv[2:])
settings = termios.tcgetattr(terminal)
seen = b""
log = open(sys.argv[1], "wb")


def until(pattern, limit):
    """Reads until the pattern comes, and drops what was before its end."""
    global seen
    end = time.monotonic() + limit
    while not (found := re.search(pattern, seen)):
        if time.monotonic() > end:
            sys.exit(f"nothing like {pattern} came")
        if select.select([terminal], [], [], 1)[0]:
            try:
                got = os.read(terminal, 65536)
            except OSError:  # the end of a terminal
                sys.exit(f"it ended before {pattern}")
            log.write(got)
            log.flush()
            seen += got
    seen = seen[found.end() :]
    return found


def key(text):
    os.write(terminal, text)


until(rb"error: .*", 1200)
until(rb"a shell of root in the (guest|sandbox)", 60)
until(rb"[#$] ", 120)
key(b"sleep 1000\r")
time.sleep(2)
key(b"\x03")  # ends sleep, and neither the shell nor kiln
until(rb"[#$] ", 60)
time.sleep(int(os.environ.get("LINGER", "0")))
key(b"echo it is $(id -un) at $(tty), systemd says $(systemctl is-system-running), and $(cat /etc/motd)\r")
print(until(rb"it is root at (/dev/pts/\d+), systemd says (\w+), and Hello", 60).group().decode())
key(b"touch /root/looked; exit 5\r")
until(rb"the shell has ended", 60)
if termios.tcgetattr(terminal) != settings:
    sys.exit("the terminal is not as it was")
end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        log.write(os.read(terminal, 65536))
    except OSError:
        break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
EOF
  expect_status 1
  says "a shell of root in the $where"
  says 'the shell has ended'
  says "error: .*no-such-package-of-kiln|Unable to locate package"
  leaves_nothing 10
  [ ! -e "$work/built" ] || fail "something was published"
  [ "$(find "$store/layers" -mindepth 1 -maxdepth 1 | sort)" = "$layers" ] || fail "something became a layer"
  find "$store/failed" -mindepth 2 -name log | grep -q . || fail "no evidence is kept"
  rm -rf "$store/failed"/*
}

layers=$(find "$store/layers" -mindepth 1 -maxdepth 1 | sort)
if [ "$(id -u)" = 0 ]; then
  LINGER=25 looks_around sandbox --timeout 20s # the step's limit is over by then
  says 'systemd says offline'
fi
looks_around guest --rootless
says 'systemd says (running|degraded)'
