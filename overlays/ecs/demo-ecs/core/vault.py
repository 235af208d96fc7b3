"""The storage vault: each file is signed by vault_sign and encrypted to vault_encrypt. The keys are vault_sign.asc and
vault_encrypt.asc in GPG_FOLDER; GnuPG sees them in a folder of their own that goes afterwards."""
import os
import re
import subprocess
import tempfile
from contextlib import contextmanager

from django.conf import settings

from . import files

PATIENCE = 30


class Trouble(Exception):
    """Its text is for people."""


class Keyring:
    """A GnuPG home with the keys of the vault."""

    def __init__(self, home):
        self.home = home
        self.encrypt = self.take('vault_encrypt')
        self.sign = self.take('vault_sign')
        secret = self.fingerprints('--list-secret-keys')
        if self.sign not in secret:
            raise Trouble('vault_sign.asc has no secret key to sign with')
        self.reads = self.encrypt in secret

    def gpg(self, *args, **kwargs):
        """(status lines, standard output); what goes wrong is a Trouble."""
        environment = {'GNUPGHOME': self.home, 'PATH': os.environ.get('PATH', '/usr/bin:/bin'), 'LC_ALL': 'C.UTF-8'}
        inside, outside = os.pipe()
        try:
            try:
                done = subprocess.run(
                    ['gpg', '--batch', '--no-tty', '--quiet', '--no-auto-key-locate', '--trust-model', 'always', '--pinentry-mode',
                     'error', '--status-fd', str(outside), *args],
                    env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE, pass_fds=[outside], **kwargs)
            finally:
                os.close(outside)
            status = b''
            while chunk := os.read(inside, 65536):
                status += chunk
        except subprocess.TimeoutExpired:
            raise Trouble('gpg did not end in %d s' % PATIENCE) from None
        finally:
            os.close(inside)
        lines = re.findall(r'^\[GNUPG:\] (.*)$', status.decode('utf-8', 'replace'), re.M)
        if done.returncode != 0:
            why = done.stderr.decode('utf-8', 'replace').strip().splitlines()
            raise Trouble(why[-1][:200] if why else 'gpg ended with %d' % done.returncode)
        return lines, done.stdout

    def fingerprints(self, what):
        out = self.gpg('--with-colons', what)[1].decode('utf-8', 'replace')
        return re.findall(r'^(?:pub|sec):.*\n(?:.*\n)*?fpr:+([0-9A-F]+):', out, re.M)

    def take(self, name):
        """The fingerprint of the key in NAME.asc."""
        file = settings.GPG_FOLDER / ('%s.asc' % name)
        try:
            key = file.read_bytes()
        except FileNotFoundError:
            raise Trouble('%s.asc is not there: the environment has no ecs.%s' % (name, name)) from None
        except OSError as error:
            raise Trouble('%s.asc: %s' % (name, error.strerror)) from None
        try:
            lines = self.gpg('--import', input=key)[0]
        except Trouble as trouble:
            raise Trouble('%s.asc: %s' % (name, trouble)) from None
        found = {line.split()[2] for line in lines if line.startswith('IMPORT_OK ')}
        if len(found) != 1:
            raise Trouble('%s.asc holds %d keys, not one' % (name, len(found)))
        return found.pop()


@contextmanager
def keyring():
    with tempfile.TemporaryDirectory(prefix='gpg-', ignore_cleanup_errors=True) as home:
        try:
            yield Keyring(home)
        finally:
            # its agent knows secret keys
            subprocess.run(['gpgconf', '--homedir', home, '--kill', 'all'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=PATIENCE, check=False)


def write(name, content, ring):
    """Lays CONTENT into the vault as NAME.gpg."""
    sealed = ring.gpg('--sign', '--encrypt', '--local-user', ring.sign, '--recipient', ring.encrypt, '--output', '-', input=content)[1]
    path = settings.VAULT_FOLDER / ('%s.gpg' % name)
    try:
        files.write(path, sealed)
    except OSError as error:
        raise Trouble('the vault cannot be written: %s' % error.strerror) from None
    return path


def read(name, ring):
    """What lies in the vault as NAME.gpg, if it is for vault_encrypt and by vault_sign."""
    try:
        sealed = (settings.VAULT_FOLDER / ('%s.gpg' % name)).read_bytes()
    except OSError as error:
        raise Trouble('the vault cannot be read: %s' % error.strerror) from None
    lines, content = ring.gpg('--decrypt', '--output', '-', input=sealed)
    words = [line.split() for line in lines]
    if not any(word[0] == 'DECRYPTION_OKAY' for word in words):
        raise Trouble('the file is not encrypted')
    # the last word is the primary key's, whichever of its keys has signed
    if [word[-1] for word in words if word[0] == 'VALIDSIG'] != [ring.sign]:
        raise Trouble('the file is not signed by vault_sign')
    return content


def is_sealed(name, ring):
    """Without the secret key: whether NAME.gpg is encrypted to vault_encrypt."""
    sealed = (settings.VAULT_FOLDER / ('%s.gpg' % name)).read_bytes()
    listed = ring.gpg('--with-colons', '--list-keys', ring.encrypt)[1].decode()
    ids = set(re.findall(r'^(?:pub|sub):(?:[^:]*:){3}([0-9A-F]{16}):', listed, re.M))
    try:
        lines = ring.gpg('--list-only', '--decrypt', input=sealed)[0]
    except Trouble:
        return False
    return any(line.split()[1] in ids for line in lines if line.startswith('ENC_TO '))


def round_trip(name):
    """Writes a file to the vault and reads it back; a sentence on how that went, or a Trouble."""
    content = os.urandom(32).hex().encode()
    with keyring() as ring:
        write(name, content, ring)
        if ring.reads:
            if read(name, ring) != content:
                raise Trouble('what was read back is not what was written')
            return 'written, encrypted and signed, and read back'
        if not is_sealed(name, ring):
            raise Trouble('the file is not encrypted to vault_encrypt')
        return 'written, encrypted and signed; without the secret key it cannot be read back here'
