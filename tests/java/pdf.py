"""pdf.py KIND FILE: writes a PDF of one page. KIND: plain, large (29 MB), deep (arrays in arrays), certified (by an author who allows
no change), bomb (1 GB of an object stream)."""
import os
import sys
import zlib

kind, path = sys.argv[1:]
text = b"BT /F1 24 Tf 72 720 Td (Minutes of a meeting) Tj ET"
objects = [
    b"<< /Type /Catalog /Pages 2 0 R /Extra 6 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    b"null",
]
if kind == "large":
    blob = os.urandom(29 << 20)
    objects[5] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(blob), blob)
elif kind == "deep":
    objects[5] = b"[" * 200000 + b"]" * 200000
elif kind == "certified":
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R /Perms << /DocMDP 6 0 R >> >>"
    objects[5] = b"<< /Type /Sig /Reference [<< /Type /SigRef /TransformMethod /DocMDP /TransformParams << /P 1 /V /1.2 >> >>] >>"

out = bytearray(b"%PDF-1.5\n")
offsets = []
for number, content in enumerate(objects, 1):
    offsets.append(len(out))
    out += b"%d 0 obj\n%s\nendobj\n" % (number, content)

if kind == "bomb":
    # object 6 lies in a stream that is 1 MB here and 1 GB when it is read
    packer = zlib.compressobj(9)
    body = b"".join([packer.compress(b"6 0 "), *(packer.compress(b" " * (1 << 20)) for _ in range(1024)), packer.flush()])
    offsets.append(len(out))
    out += b"7 0 obj\n<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (len(body), body)
    table = len(out)
    rows = [(0, 0, 65535)] + [(1, offset, 0) for offset in offsets[:5]] + [(2, 7, 0), (1, offsets[6], 0), (1, table, 0)]
    body = b"".join(bytes([a]) + b.to_bytes(4, "big") + c.to_bytes(2, "big") for a, b, c in rows)
    out += b"8 0 obj\n<< /Type /XRef /Size 9 /W [1 4 2] /Root 1 0 R /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (len(body), body)
    out += b"startxref\n%d\n%%%%EOF\n" % table
else:
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
with open(path, "wb") as file:
    file.write(out)
