"""What docker images that are baked in cost and save: seconds of the stage from nothing and when one image of eight was changed, their
size with and without shared layers; and, given an image of the appliance, seconds from power-on to a green status page, as
baked and when the engine's store is empty, so that all is loaded from the archive first.

  /usr/bin/python3 ci/bench/images.py [IMAGE.qcow2]
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

TOP = pathlib.Path(__file__).resolve().parents[2]
KILN = TOP / "build/release/bin/kiln"
WORK = TOP / "build/bench-images"
ARCHIVE = "/usr/local/share/appliance/images/images.tar.zst"
PROFILE = """description: docker images on an engine
steps:
  - base_debian: {suite: bookworm, kernel: linux-image-cloud-amd64}
  - packages: {install: [docker.io]}
  - docker_images: {images: [%s]}
"""


def call(*words):
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def build(profile, until):
    """Seconds of that step."""
    print(f"== {until}", file=sys.stderr, flush=True)
    said = json.loads(call(KILN, "build", profile, "--until", until, "--json", "--store", WORK / "store"))
    return next(step["seconds"] for step in said["builds"][0]["steps"] if step["id"] == until)


def sizes(layer):
    """Bytes of all layers of an image's archive, each once, and as often as an image has it; how many images; bytes of the archive."""
    packed = WORK / "images.tar.zst"
    # a /dev/kvm that runs nothing would end it
    call("env", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg", "guestfish", "--ro", "-a", layer, "-i", "download", ARCHIVE, packed)
    with subprocess.Popen(["zstd", "-dcq", packed], stdout=subprocess.PIPE) as zstd:
        found, images = {}, []
        with tarfile.open(fileobj=zstd.stdout, mode="r|") as archive:
            for member in archive:
                if member.name == "manifest.json":
                    images = json.load(archive.extractfile(member))
                found[member.name] = member.size
    shared = sum(found[name] for name in {name for image in images for name in image["Layers"]})
    return shared, sum(found[name] for image in images for name in image["Layers"]), len(images), packed.stat().st_size


def stage():
    """Rows of text and figure."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(TOP / "overlays/ecs", WORK / "ecs")
    names = re.findall(r"overlays/ecs/(images/[a-z-]+\.yml)", (TOP / "profiles/ecs-bookworm.yml").read_text())
    profile = WORK / "profile.yml"
    profile.write_text(PROFILE % ", ".join(f"ecs/{name}" for name in names))
    build(profile, "packages")
    rows = [(f"`docker_images`, {len(names)} images from nothing, downloads included", f"{build(profile, 'docker_images'):.1f} s")]
    shared, total, count, packed = sizes(call(KILN, "cache", "path", f"{profile}@docker_images", "--store", WORK / "store").strip())
    one = WORK / "ecs/images/memcached.yml"
    one.write_text(one.read_text().replace('"64"', '"65"'))
    rows.append(("one of them changed", f"{build(profile, 'docker_images'):.1f} s"))
    rows.append(("their layers, those that images share once", f"{shared / 1e6:.0f} MB"))
    rows.append((f"the sum of {count} images without sharing", f"{total / 1e6:.0f} MB"))
    rows.append(("their archive, compressed", f"{packed / 1e6:.0f} MB"))
    return rows


def power_on(image):
    print("== power-on", file=sys.stderr, flush=True)
    said = call("env", f"MACHINE=qemu:{image}", "bash", TOP / "ci/bench/power-on.sh")
    return [tuple(line.split("\t")[1:]) for line in said.splitlines() if line.startswith("row\t")]


def table(rows):
    return "\n".join(["| docker images | |", "|---|---:|", *(f"| {text} | {figure} |" for text, figure in rows), ""])


if __name__ == "__main__":
    print(table(stage() + (power_on(pathlib.Path(sys.argv[1]).resolve()) if len(sys.argv) > 1 else [])))
