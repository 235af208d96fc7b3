#!/usr/bin/env python3
"""Looks for secrets in files, however they were written there.

Usage: find-canary.py SECRET... -- FILE...

A SECRET is text, or `hex:` and bytes in hexadecimal, of which the longest piece without a line feed is looked for.

Prints one line for each file in which one is found: plain, base64 (at each of three offsets, also URL-safe), base32 (of five),
hexadecimal, URL-encoded, as a PDF's page shows it (UTF-16 in hexadecimal), or any of these in a gzip member or in a packed stream
of a PDF. Files are read as they are; of a zstd file what it unpacks to is read as well (of an initrd what comes before its plain
end), of a qcow2 file without a backing file what it unpacks to. Exit status 3 when one is found, 0 when none is.
"""

import base64
import mmap
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.parse
import zlib

MEMBER_MOST = 16 << 20  # bytes of a gzip member that are looked at
PIECE = 64 << 10


def taken(word):
    """The bytes that an argument stands for."""
    if not word.startswith("hex:"):
        return word.encode()
    return max(bytes.fromhex(word.removeprefix("hex:")).split(b"\n"), key=len)


def forms(secret):
    as_hex = secret.hex().encode()
    found = {secret, as_hex, as_hex.upper(), urllib.parse.quote(secret, safe="").encode()}
    if secret.isascii():
        found.add(secret.decode().encode("utf-16-be").hex().upper().encode())
    for shift in range(3):
        # What precedes and follows is not known: only characters that come of the secret alone.
        text = base64.b64encode(bytes(shift) + secret + bytes(2))[(shift * 8 + 5) // 6 : (shift + len(secret)) * 8 // 6]
        found |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    for shift in range(5):
        text = base64.b32encode(bytes(shift) + secret + bytes(4))[(shift * 8 + 4) // 5 : (shift + len(secret)) * 8 // 5]
        found |= {text, text.lower()}
    return found


def unpacked(data, begin, wbits):
    """What the packed bytes that begin there unpack to, as far as they do."""
    text = bytearray()
    packed = zlib.decompressobj(wbits=wbits)
    try:
        while not packed.eof and len(text) < MEMBER_MOST and begin < len(data):
            text += packed.decompress(data[begin : begin + PIECE])
            begin += PIECE
    except zlib.error:
        pass  # no more of it, or only looked like one
    return bytes(text)


def members(data):
    """What each gzip member and each packed stream of a PDF that begins in `data` unpacks to."""
    for head, skip, wbits in ((b"\x1f\x8b\x08", 0, 31), (b"stream\nx", 7, 15), (b"stream\r\nx", 8, 15)):
        at = data.find(head)
        while at >= 0:
            yield unpacked(data, at + skip, wbits)
            at = data.find(head, at + 1)


def look_into(name, path, wanted, patterns):
    """Prints and returns whether something of `wanted`, which `patterns` is the file of, stands in the file."""
    if os.path.getsize(path) == 0:
        return False
    found = subprocess.run(["grep", "-q", "-a", "-F", "-f", patterns, path], env={"LC_ALL": "C"}, check=False).returncode
    if found > 1:
        sys.exit(f"{path}: cannot be searched")
    if found == 0:
        print(f"{name}: as it is or encoded")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        packed = any(text in member for member in members(data) for text in wanted)
    if packed:
        print(f"{name}: packed")
    return found == 0 or packed


def unpack(path, to):
    """Whether there is something to unpack."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        with open(to, "wb") as out:
            done = subprocess.run(["zstd", "-q", "-d", "-c", path], stdout=out, stderr=subprocess.PIPE)
        if done.returncode != 0 and to.stat().st_size == 0:
            sys.exit(f"{path}: {done.stderr.decode()}")
        return True
    if head.startswith(b"QFI\xfb") and head[8:16] == bytes(8):  # no offset of a backing file's name
        # Not raw: what was never written would be read as zeros, gigabytes of them.
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", path, to], check=True)
        return True
    return False


def main():
    words = sys.argv[1:]
    secrets = words[: words.index("--")]
    files = words[words.index("--") + 1 :]
    wanted = set().union(*(forms(taken(secret)) for secret in secrets))
    found = False
    with tempfile.TemporaryDirectory(dir=".") as folder:
        patterns = pathlib.Path(folder) / "patterns"
        patterns.write_bytes(b"\n".join(sorted(wanted)) + b"\n")
        plain = pathlib.Path(folder) / "plain"
        for path in files:
            found |= look_into(path, path, wanted, patterns)
            if unpack(path, plain):
                found |= look_into(f"{path}, unpacked", plain, wanted, patterns)
    return 3 if found else 0


sys.exit(main())
