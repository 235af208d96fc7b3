#!/usr/bin/env bash
# What a build is told in confidence is found nowhere in what it leaves: not in layers, exported disk, saved memory, logs,
# events, report or evidence; neither plain nor encoded or packed. An environment is in its package alone, and in the disk that
# it is embedded in; an image that is booted with one leaves nothing of it behind.
# label: guest
# needs: salt
# timeout: 1500
. "$(dirname "$0")/common.inc"

need_root "a proxy is used by the native install alone"
random() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }
environment=canary+$(random)/$(random)     # in kiln's environment
password=canary+$(random)/$(random)        # a proxy's, in the environment too
private=canary+$(random)/$(random)         # in a file that only root may read, which a state writes
confided=canary$(random)$(random)          # in an environment
# found SECRET... -- FILE...: one is there, in whatever form; where is printed.
found() {
  local status=0
  python3 "$here/find-canary.py" "$@" || status=$?
  case $status in
    0) return 1 ;;
    3) ;;
    *) fail "the search ended with status $status" ;;
  esac
}

# The search finds what is there.
mkdir "$work/planted"
(
  cd "$work/planted"
  printf 'xx%s' "$private" >plain
  for shift in '' x xy; do printf '%s' "$shift$private and more" | base64 -w 0 >"base64$shift"; done
  python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$private" >url
  printf '%s' "$private" | gzip -c >member
  { printf 'something before'; base64 -w 0 plain | gzip -c; echo behind; } >member-inside
  { head -c 100000 /dev/urandom; cat plain; } | zstd -q -o zstd
  truncate -s 10M raw && printf '%s' "$private" | dd of=raw bs=1 seek=5000000 conv=notrunc status=none
  qemu-img convert -c -O qcow2 raw disk && rm raw
  for file in *; do found "$private" -- "$file" >/dev/null || fail "the search does not find what is in '$file'"; done
  ! found "$password" "$environment" -- ./* >/dev/null || fail "the search finds what is not there"
)
rm -r "$work/planted"

# A proxy that wants a login, as a company's would.
cat >"$work/proxy.py" <<'PROXY'
import base64, http.server, sys, urllib.request

password, log = sys.argv[1:]
fetch = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        login = base64.b64decode(self.headers.get("Proxy-Authorization", "").removeprefix("Basic "))
        if login != f"me:{password}".encode():
            return self.answer(407, b"", {"Proxy-Authenticate": 'Basic realm="test"'})
        with open(log, "a") as lines:
            lines.write(self.path + "\n")
        kept = {k: v for k, v in self.headers.items() if k in ("If-Modified-Since", "Range", "If-Range", "User-Agent")}
        try:
            with fetch.open(urllib.request.Request(self.path, headers=kept)) as answer:
                self.answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            self.answer(error.code, error.read(), error.headers)

    def answer(self, status, body, headers):
        self.send_response(status)
        for name in ("Last-Modified", "Content-Range", "Proxy-Authenticate"):
            if headers.get(name):
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_port, flush=True)
server.serve_forever()
PROXY
python3 "$work/proxy.py" "$password" "$work/fetched" >"$work/port" &
wait_for 10 "the proxy" test -s "$work/port"
proxy=http://me:$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$password")@127.0.0.1:$(cat "$work/port")

mkdir "$work/states"
cat >"$work/states/top.sls" <<END
base:
  '*':
    - private
END
cat >"$work/states/private.sls" <<END
/root/private:
  file.managed:
    - mode: '0600'
    - contents: before

changed:
  file.managed:
    - name: /root/private
    - mode: '0600'
    - contents: $private

{% if salt['file.file_exists']('/etc/breaks') %}
this breaks:
  cmd.run:
    - name: exit 3
{% endif %}
END
cat >"$work/canary.yml" <<END
description: what is told in confidence
extends: $here/profiles/salt.yml
steps:
  - id: small
    packages: {install: [jq]}
  - salt_highstate: {tree: $work/states}
  - env_package: {files: [$work/confided.yml], embed: true}
END
echo "appliance: {git: {branch: $confided}}" >"$work/extra.yml"
"$(dirname "$KILN")/kiln-env" create --extra "$work/extra.yml" ecs.example.org "$work/confided.yml" >"$work/out" 2>"$work/err" ||
  fail "no environment"
key=$(sed -n "s/^ *SECRET_KEY = '\(.*\)'/\1/p" "$work/confided.yml")
[ -n "$key" ] || fail "the environment has no secret"
mkdir -p "$work/breaks/etc"
touch "$work/breaks/etc/breaks"
sed "s|^  - salt_highstate|  - overlay: {tree: $work/breaks}\n&|" "$work/canary.yml" >"$work/canary-breaks.yml"
own_store
touch "$work/begin"
export KILN_E2E_SECRET=$environment
http_proxy=$proxy kiln build "$work/canary.yml" --no-boot --output "$work/built" --events "$work/events" --json
expect_status 0
[ -s "$work/fetched" ] || fail "nothing was fetched through the proxy"
mv "$work/out" "$work/told"
mv "$work/err" "$work/told-err"
grep -q 'has every secret of ecs.example.org in it' "$work/told-err" || fail "nothing warns of the disk with an environment"
mv "$work/built/env" "$work/packed"
# The image takes the environment as its user-data: cloud-init has the very same.
cat >"$work/booted.yml" <<END
extends: $work/canary.yml
proof:
  commands:
    - run: [sha256sum, /var/lib/cloud/instance/user-data.txt]
      output: $(sha256sum "$work/confided.yml" | cut -d ' ' -f 1)
END
kiln boot "$work/built/canary.qcow2" --env "$work/packed/ecs.example.org/env-cidata.iso" --profile "$work/booted.yml" \
  --output "$work/booted" --events "$work/events-booted"
expect_status 0
mv "$work/out" "$work/booted-told"
mv "$work/err" "$work/booted-err"
http_proxy=$proxy kiln build "$work/canary-breaks.yml" --no-boot --output "$work/broken" --events "$work/events-broken"
expect_status 1
says "this breaks"
[ ! -e "$work/broken" ] || fail "something was published"

# All that is new; the store's other layers are of other tests.
mapfile -d '' -t all < <(find "$store" "$work"/{built,booted,out,err,told,told-err,booted-told,booted-err,events,events-broken,events-booted} \
  -type f -newer "$work/begin" -print0)
for what in image.qcow2 memory.zst canary.qcow2 console.log report.html salt.json info.json failed/; do
  printf '%s\n' "${all[@]}" | grep -q "/$what" || fail "no $what was looked into"
done
cd "$work"
! found "$environment" "$password" -- "${all[@]}" || fail "what stood in the environment, or a proxy's password, is left"
! found "$confided" "$key" -- "${all[@]}" || fail "an environment is left"
(
  cd "$work/packed/ecs.example.org"
  for file in confided.yml.pdf env-cidata.iso canary.qcow2; do
    [ "$(stat -c %a "$file")" = 600 ] || fail "others may read $file"
    found "$confided" -- "$file" >/dev/null || fail "the environment is not in $file"
  done
  [ "$(stat -c %a .)" = 700 ] || fail "others may look into the folder of the packages"
)
# The disks hold what the state says, and where it says it; nothing else does.
found "$private" -- built/canary.qcow2 >/dev/null || fail "the state did not write it"
mapfile -t told < <(printf '%s\n' "${all[@]}" | grep -v '\.qcow2$')
! found "$private" -- "${told[@]}" || fail "what only root may read is left"
