#!/usr/bin/env bash
# Docker images of every kind are baked in: composed of packages, one on another, a docker-archive, an OCI layout, from a
# registry by digest (on loopback), by a Dockerfile. The ids are the same natively, in a guest, made anew, and in the booted
# image, which runs them without a network and has them again from its archive. One changed image of six is made again alone.
# What is damaged, unpinned or for another machine is refused before anything changes.
# label: soak
# needs: minimal
# timeout: 2400
. "$(dirname "$0")/common.inc"

need_root "images are composed in chroots"

own_store
cp -a --reflink=auto "$store/packages" "$work/packages"
mkdir -p "$work/images/"{site,context,registry}
images=$work/images

# tiny ARCHITECTURE FILE: a docker-archive of busybox alone
tiny() {
  python3 - "$@" <<'END'
import hashlib, io, json, sys, tarfile
architecture, to = sys.argv[1:]
def tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, mode, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode
            if kind == tarfile.SYMTYPE:
                info.linkname, data = data, b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
busybox = open("/bin/busybox", "rb").read()
layer = tar([("bin", tarfile.DIRTYPE, 0o755, b""), ("bin/busybox", tarfile.REGTYPE, 0o755, busybox)]
            + [("bin/" + name, tarfile.SYMTYPE, 0o777, "busybox") for name in ("cat", "echo", "sh")])
config = json.dumps({"architecture": architecture, "os": "linux", "config": {"Cmd": ["echo", "tiny"]},
                     "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
name = hashlib.sha256(config).hexdigest() + ".json"
manifest = json.dumps([{"Config": name, "RepoTags": ["tiny:1"], "Layers": ["layer.tar"]}]).encode()
open(to, "wb").write(tar([(name, tarfile.REGTYPE, 0o644, config), ("layer.tar", tarfile.REGTYPE, 0o644, layer),
                          ("manifest.json", tarfile.REGTYPE, 0o644, manifest)]))
END
}
tiny amd64 "$images/tiny.tar"
tiny arm64 "$images/other.tar"
# by which an OCI layout names its one image
config_of_layout() {
  json "$images/layout/blobs/sha256/$(json "$images/layout/index.json" 'it["manifests"][0]["digest"][7:]')" 'it["config"]["digest"][7:]'
}
sum() { sha256sum "$1" | cut -d ' ' -f 1; }
skopeo copy --quiet --insecure-policy "docker-archive:$images/tiny.tar" "oci:$images/layout:tiny"

# The registry of the tests, which goes with this script.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $images/registry}}
http: {addr: "127.0.0.1:$port"}
END
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
wait_for 20 "the registry" curl -sf -o /dev/null "http://127.0.0.1:$port/v2/"
skopeo copy --quiet --insecure-policy --dest-tls-verify=false "docker-archive:$images/tiny.tar" "docker://127.0.0.1:$port/tiny:1"
digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://127.0.0.1:$port/tiny:1")

echo 'the first' >"$images/site/page"
printf '#!/bin/sh\necho runs\n' >"$images/site/run"
chmod +x "$images/site/run"
printf 'FROM archived\nCOPY file /etc/file\nRUN ["sh", "-c", "echo built > /etc/built"]\nCMD ["cat", "/etc/file", "/etc/built"]\n' \
  >"$images/context/Dockerfile"
echo 'of a context' >"$images/context/file"
define() { cat >"$images/$1.yml"; }
define debian <<END
name: debian
suite: bookworm
END
define site <<END
name: site:2
on: debian
packages: [jq]
users: [{name: site, id: 430}]
files: [{from: site, to: /opt/site}]
run: [[sh, -c, "mkdir /data && chown site: /data"]]
remove: [/usr/share/bash-completion]
config: {user: "430", command: [/opt/site/run], volumes: [/data], env: {KIND: site}}
END
define archived <<END
name: archived
archive: tiny.tar
sha256: $(sum "$images/tiny.tar")
END
define layout <<END
name: layout
archive: layout
sha256: $(json "$images/layout/index.json" 'it["manifests"][0]["digest"][7:]')
END
define fetched <<END
name: fetched
registry: 127.0.0.1:$port/tiny@$digest
END
define built <<END
name: built
dockerfile: context
END

profile=$work/docker-images.yml
cat >"$profile" <<END
extends: $top/profiles/minimal.yml
steps:
  - id: engine
    packages: {install: [docker.io, apparmor]}
  - id: images
    after: engine
    docker_images:
      images: [images/built.yml, images/site.yml, images/archived.yml, images/layout.yml, images/fetched.yml, images/debian.yml]
END

# bake ARGUMENTS...: builds up to the images; their ids are in $work/ids.
bake() {
  kiln build "$profile" --until images --output "$work/built" --json "$@"
  expect_status 0
  sort "$store/layers/$(layer_of images)/images.list" >"$work/ids"
}
same_ids() { diff "$work/$1" "$work/ids" || fail "$2"; }

bake
[ "$(wc -l <"$work/ids")" = 6 ] || fail "there are not six images"
tiny_id=$(tar -xOf "$images/tiny.tar" manifest.json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["Config"][:64])')
for image in archived fetched; do
  grep -q -x "$image:latest sha256:$tiny_id" "$work/ids" || fail "$image is not the image it was"
done
grep -q -x "layout:latest sha256:$(config_of_layout)" "$work/ids" || fail "layout is not the image it was"
leaves_nothing 5
cp "$work/ids" "$work/first"

# Made anew, from nothing but packages.
rm -rf "$store/packages/docker"
bake --from images
same_ids first "what was made anew has other ids"
never_says "were made before"

# By a guest; what was made is found.
cp "$profile" "$work/with-archive.yml"
echo '      archive: false' >>"$profile"
bake --rootless
same_ids first "the guest has other ids"
says "6 of 6 docker images were made before"
cp "$work/with-archive.yml" "$profile"

# What mirrors serve now is asked for, and what is pinned taken from the store.
bake --from images
same_ids first "what was made of the same packages has other ids"
says "3 of 6 docker images were made before"

# Without the registry, and where nothing may be fetched.
kill "$registry"
wait "$registry" || true
bake --from images --offline
same_ids first "offline they have other ids"

# One changed image alone.
echo 'the second' >"$images/site/page"
bake
says "5 of 6 docker images were made before"
[ "$(diff "$work/first" "$work/ids" | grep -c '^>')" = 1 ] || fail "not one id changed"
echo 'the first' >"$images/site/page"

# refused WORDS PATTERN: with the definition of the standard input in the place of archived.yml.
refused() {
  cp "$images/archived.yml" "$work/kept.yml"
  cat >"$images/archived.yml"
  kiln build "$profile" --until images --output "$work/built"
  expect_status 2
  says "$1"
  ! grep -q "loading" "$work/err" || fail "something was loaded"
  cp "$work/kept.yml" "$images/archived.yml"
}
refused "archived.yml:2:10: the sha256 of '[^']*/tiny.tar' is $(sum "$images/tiny.tar"), not a{64}; if the image was meant" <<END
name: archived
archive: tiny.tar
sha256: $(printf 'a%.0s' {1..64})
END
refused "archived.yml:2:10: '[^']*/other.tar' is for linux/arm64, the appliance for amd64; take the image for linux/amd64" <<END
name: archived
archive: other.tar
sha256: $(sum "$images/other.tar")
END
python3 - "$images" <<'END'
import sys
images = sys.argv[1]
whole = bytearray(open(images + "/tiny.tar", "rb").read())
whole[len(whole) // 2] ^= 1
open(images + "/damaged.tar", "wb").write(whole)
END
refused "archived.yml:2:10: '[^']*/damaged.tar' is damaged: the sha256 of layer 1 is not what" <<END
name: archived
archive: damaged.tar
sha256: $(sum "$images/damaged.tar")
END
refused "archived.yml:2:11: 'localhost/x:1' is not pinned by its digest; write HOST/NAME@sha256:DIGEST" <<END
name: archived
registry: localhost/x:1
END
sed "s/docker.io, apparmor/jq/" "$profile" >"$work/no-engine.yml"
kiln build "$work/no-engine.yml" --until images --output "$work/built"
expect_status 2
says "docker_images: the image has no docker, so it has no docker engine; let an earlier step install it, as in"

# The booted image: the same ids, they run without a network, and the archive brings all back.
cp "$work/first" "$work/expected"
{
  echo "proof:"
  echo "  units: [docker.service]"
  echo "  commands:"
  while read -r image id; do
    echo "    - {run: [docker, image, inspect, --format, '{{.Id}}', '$image'], output: '$id'}"
  done <"$work/expected"
  cat <<'END'
    - {run: [docker, run, --rm, --network, none, "site:2"], output: runs}
    - {run: [docker, run, --rm, --network, none, built], output: "of a context\nbuilt"}
    - run:
        - sh
        - -ec
        - |
          systemctl stop docker.socket docker.service
          rm -rf /var/lib/docker
          systemctl start docker.service
          [ -z "$(docker image ls --quiet)" ]
          zstd -dc /usr/local/share/appliance/images/images.tar.zst | docker load --quiet >/dev/null
          while read -r image id; do
            [ "$(docker image inspect --format '{{.Id}}' "$image")" = "$id" ]
          done </usr/local/share/appliance/images/images.list
          echo all back
      output: all back
END
} >>"$profile"
kiln build "$profile" --output "$work/built"
expect_status 0
leaves_nothing 5
