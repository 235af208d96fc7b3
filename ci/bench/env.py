"""How long `kiln-env` takes for paper: an environment of 20 kB, and the most that fits. Alone, or as a part of ci/bench/run."""

import base64
import pathlib
import random
import shutil
import subprocess
import sys
import time
import zlib

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = TOP / "build/release/bin/kiln-env"
WORK = TOP / "build/bench-env"
MOST = 131_250  # bytes of gzip that a hundred codes hold


def call(*words):
    """Runs kiln-env; returns its seconds."""
    begun = time.monotonic()
    done = subprocess.run([PROGRAM, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: kiln-env {words[0]} ended with {done.returncode}: {done.stderr}")
    return time.monotonic() - begun


def packed(text):
    return len(zlib.compress(text.encode(), 9)) + 12  # gzip's head and end are longer than zlib's by this


def environment(name, fits):
    """Writes an environment that is as long as `fits` lets it be, filled up with text that hardly packs; returns its path."""
    path = WORK / name
    call("create", "ecs.example.org", path)
    begin = path.read_text()
    noise = base64.b64encode(random.Random(name).randbytes(200_000)).decode()

    def filled(length):
        return begin.replace("    DEBUG = False\n", f"    DEBUG = False\n    NOISE = '{noise[:length]}'\n")

    low, high = 0, len(noise)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(filled(middle)) else (low, middle - 1)
    path.write_text(filled(low))
    return path


def measure():
    """Rows of name, seconds, what was asked for."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    rows = []
    for title, folder, fits, goal in (
        ("20 kB", "small", lambda text: len(text.encode()) <= 20_000, "3 s"),
        ("the most that fits", "most", lambda text: packed(text) <= MOST - 64, "10 s"),
    ):
        (WORK / folder).mkdir()
        path = environment(f"{folder}/env.yml", fits)
        size = f"{path.stat().st_size:,} bytes"
        rows.append((f"`package`, {title} ({size})", call("package", path), goal))
        back = WORK / folder / "back.yml"
        seconds = call("recover", "-o", back, f"{path}.pdf")
        same(path, back)
        rows.append((f"`recover` from its PDF, {title}", seconds, "15 s" if folder == "most" else ""))
    subprocess.run(["pdftoppm", "-q", "-r", "150", "-gray", "-png", WORK / "most/env.yml.pdf", WORK / "most/page"], check=True)
    pages = sorted(WORK.glob("most/page-*.png"))
    back = WORK / "most/scanned.yml"
    seconds = call("recover", "-o", back, *pages)
    same(WORK / "most/env.yml", back)
    rows.append((f"`recover` from {len(pages)} pages at 150 dpi, the most that fits", seconds, "15 s"))
    return rows


def same(one, other):
    if one.read_bytes() != other.read_bytes():
        sys.exit(f"error: {other} differs from {one}")


def table(rows):
    lines = ["| `kiln env` | seconds | asked for |", "|---|---:|---|"]
    return "\n".join([*lines, *(f"| {text} | {seconds:.1f} | {goal} |" for text, seconds, goal in rows), ""])


if __name__ == "__main__":
    print(table(measure()))
