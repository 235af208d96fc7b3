"""PDFs: a small one made, one signed by pdfas, a signature checked."""
import datetime
import hashlib
import os
import re
import secrets
import subprocess
import tempfile
import urllib.error
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from django.conf import settings

PATIENCE = 30


class Trouble(Exception):
    """Its text is for people."""


def make(lines):
    """A PDF of one page with LINES on it."""
    def text(line):
        return line.encode('latin-1', 'replace').replace(b'\\', b'\\\\').replace(b'(', b'\\(').replace(b')', b'\\)')

    content = b'BT /F 14 Tf 72 760 Td 22 TL\n' + b''.join(b"(%s) '\n" % text(line) for line in lines) + b'ET'
    objects = [
        b'<</Type/Catalog/Pages 2 0 R>>',
        b'<</Type/Pages/Kids[3 0 R]/Count 1>>',
        b'<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>',
        b'<</Length %d>>\nstream\n%s\nendstream' % (len(content), content),
        b'<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>',
    ]
    out = b'%PDF-1.4\n%\xe2\xe3\xcf\xd3\n'
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b'%d 0 obj\n%s\nendobj\n' % (number, body)
    table = len(out)
    out += b'xref\n0 %d\n0000000000 65535 f \n' % (len(objects) + 1)
    out += b''.join(b'%010d 00000 n \n' % place for place in places)
    return out + b'trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n' % (len(objects) + 1, table)


def sample():
    return make(['ECS', 'A page that was made to be signed.',
                 '%s %s' % (settings.DOMAIN, datetime.datetime.utcnow().strftime('%Y-%m-%d %H:%M:%S UTC'))])


def sign(content):
    """CONTENT, signed by pdfas."""
    if not settings.PDFAS_SECRET:
        raise Trouble('PDFAS_SECRET is missing: pdfas signs for nobody else')
    boundary = secrets.token_hex(16)
    body = b''.join([
        b'--%s\r\nContent-Disposition: form-data; name="connector"\r\n\r\njks\r\n' % boundary.encode(),
        b'--%s\r\nContent-Disposition: form-data; name="pdf-file"; filename="in.pdf"\r\n' % boundary.encode(),
        b'Content-Type: application/pdf\r\n\r\n', content, b'\r\n--%s--\r\n' % boundary.encode()])
    request = urllib.request.Request(settings.PDFAS_URL.rstrip('/') + '/Sign', data=body, headers={
        'Content-Type': 'multipart/form-data; boundary=%s' % boundary, 'X-Pdfas-Secret': settings.PDFAS_SECRET})
    # pdfas is beside us: no proxy, and no redirect would be right
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE) as response:
            signed = response.read(settings.PDF_SIZE_LIMIT * 2)
            kind = response.headers.get_content_type()
    except urllib.error.HTTPError as error:
        why = error.read(500).decode('utf-8', 'replace').strip().splitlines() or ['']
        plain = error.headers.get_content_type() == 'text/plain'
        raise Trouble('pdfas refused it: %d %s' % (error.code, why[0][:200] if plain else '')) from None
    except OSError as error:
        raise Trouble('pdfas does not answer: %s' % getattr(error, 'reason', error)) from None
    if kind != 'application/pdf' or not signed.startswith(b'%PDF-'):
        raise Trouble('pdfas answered with something that is no PDF')
    return signed


def verify(signed, original=None):
    """Who signed all of SIGNED; a Trouble when nobody did, or not all of it. With ORIGINAL also: that is what was signed."""
    ranges = re.findall(rb'/ByteRange\s*\[\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*\]', signed)
    if not ranges:
        raise Trouble('there is no signature in it')
    start, first, second, rest = map(int, ranges[-1])
    gap = signed[first:second]
    if start != 0 or not 0 < first < second or second + rest != len(signed) or not re.fullmatch(rb'<[0-9A-Fa-f\s]+>', gap):
        raise Trouble('the signature does not cover the whole file')
    if original is not None and not signed[:first].startswith(original):
        raise Trouble('it is another PDF that was signed')
    try:
        cms = bytes.fromhex(gap[1:-1].decode())
    except ValueError:
        raise Trouble('the signature is damaged') from None
    with tempfile.TemporaryDirectory(prefix='pdf-') as folder:
        paths = {name: os.path.join(folder, name) for name in ('cms', 'content', 'signer')}
        with open(paths['cms'], 'wb') as file:
            file.write(cms)
        with open(paths['content'], 'wb') as file:
            file.write(signed[:first] + signed[second:])
        # pdfas' certificate is its own, there is no chain to follow: who signed is told instead
        done = subprocess.run(
            ['openssl', 'cms', '-verify', '-inform', 'DER', '-in', paths['cms'], '-content', paths['content'], '-binary',
             '-noverify', '-signer', paths['signer'], '-out', '/dev/null'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise Trouble('the signature is not of this content')
        with open(paths['signer'], 'rb') as file:
            signer = x509.load_pem_x509_certificate(file.read())
    names = signer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    digest = hashlib.sha256(signer.public_bytes(serialization.Encoding.DER)).hexdigest()
    return '%s (certificate %s)' % (names[0].value if names else signer.subject.rfc4514_string(), digest[:16])


def round_trip():
    """Has a PDF signed and checks it; a sentence on how that went, or a Trouble."""
    original = sample()
    return 'a PDF was signed by %s, and the signature is right' % verify(sign(original), original)
