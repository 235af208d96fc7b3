"""The authority of client certificates. nginx reads ca.cert.pem and crl.pem; the key, and the list of what was issued, are ours."""
import datetime
import fcntl
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings

from . import files

YEARS = 10
CRL_DAYS = 30
RENEW_DAYS = 20  # a list that is good for less is made anew


class Trouble(Exception):
    """Its text is for people."""


def place(name):
    return settings.CA_FOLDER / name


def now():
    return datetime.datetime.utcnow().replace(microsecond=0)


@contextmanager
def alone():
    """Two that make an authority, or a list, at once would each undo the other's."""
    with open(place('.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load():
    return x509.load_pem_x509_certificate(place('ca.cert.pem').read_bytes())


def load_key():
    try:
        return serialization.load_pem_private_key(place('ca.key.pem').read_bytes(), None)
    except FileNotFoundError:
        raise Trouble('the key of the authority, ca.key.pem, is not here') from None


def load_crl():
    return x509.load_pem_x509_crl(place('crl.pem').read_bytes())


def make():
    """Makes the authority where there is none, and the list where there is none or it is near its end."""
    with alone():
        if not place('ca.cert.pem').exists():
            # another one would take the key of the first, and nobody's certificate would open anything
            if place('issued.txt').exists():
                raise Trouble('ca.cert.pem is missing: bring it back from a backup')
            _make_authority()
        _renew()


def renew():
    with alone():
        _renew()


def _make_authority():
    # a key without a certificate was left by a crash: nothing was issued by it
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ('ECS clients of %s' % settings.DOMAIN)[:64])])
    start = now() - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * YEARS + 3))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256()))
    files.write(place('ca.key.pem'), _pem(key))
    # a list of another authority is none of this one's
    _write_crl(certificate, key, [], 1)
    files.write(place('ca.cert.pem'), certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _usage(**given):
    names = ('digital_signature', 'content_commitment', 'key_encipherment', 'data_encipherment', 'key_agreement',
             'key_cert_sign', 'crl_sign', 'encipher_only', 'decipher_only')
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


def _pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_crl(certificate, key, revoked, number):
    builder = (
        x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
        # a little ago: the clock of another machine may be behind
        .last_update(now() - datetime.timedelta(minutes=5)).next_update(now() + datetime.timedelta(days=CRL_DAYS))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(certificate.public_key()), critical=False))
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    files.write(place('crl.pem'), builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), 0o644)


def _number(crl):
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _renew():
    try:
        crl = load_crl()
    except FileNotFoundError:
        # an empty one would let in again whoever was revoked
        if place('issued.txt').exists():
            raise Trouble('crl.pem is missing: bring it back from a backup') from None
        _write_crl(load(), load_key(), [], 1)
        return
    if crl.next_update - now() < datetime.timedelta(days=RENEW_DAYS):
        _write_crl(load(), load_key(), list(crl), _number(crl) + 1)


def issue(name, days=730):
    """A client's key and certificate."""
    make()
    with alone():
        authority, authority_key = load(), load_key()
        key = ec.generate_private_key(ec.SECP256R1())
        start = now() - datetime.timedelta(hours=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])).issuer_name(authority.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(start)
            .not_valid_after(min(start + datetime.timedelta(days=days), authority.not_valid_after))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
            .sign(authority_key, hashes.SHA256()))
        # by which somebody finds what to revoke
        with open(place('issued.txt'), 'a') as issued:
            issued.write('%X %s %s\n' % (certificate.serial_number, now().strftime('%Y-%m-%d'), name))
    return key, certificate


def revoke(serial):
    """Nobody with the certificate SERIAL is let in any more; False when it was on the list already."""
    with alone():
        crl = load_crl()
        if crl.get_revoked_certificate_by_serial_number(serial) is not None:
            return False
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now()).build()
        _write_crl(load(), load_key(), [*crl, entry], _number(crl) + 1)
        return True


def state():
    """For the status page: (ok, text)."""
    try:
        authority, crl = load(), load_crl()
    except FileNotFoundError as error:
        return False, '%s is missing' % error.filename.rpartition('/')[2]
    except (OSError, ValueError):
        return False, 'the authority or its list cannot be read'
    if not crl.is_signature_valid(authority.public_key()):
        return False, 'the revocation list is not by this authority'
    if authority.not_valid_after <= now():
        return False, 'the authority has expired'
    if crl.next_update <= now():
        return False, 'the revocation list has expired'
    return True, 'authority until %s, revocation list until %s, %d revoked' % (
        authority.not_valid_after.date(), crl.next_update.date(), len(crl))
