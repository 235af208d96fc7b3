"""The storage vault, with real keys and GnuPG."""
import os
import subprocess
import tempfile
from pathlib import Path

from core import vault
from django.test import SimpleTestCase, override_settings


def gpg(home, *args, **kwargs):
    return subprocess.run(['gpg', '--homedir', home, '--batch', '--quiet', '--no-tty', '--pinentry-mode', 'loopback', '--passphrase', '',
                           '--trust-model', 'always', *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **kwargs).stdout


class Vault(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.addClassCleanup(folder.cleanup)
        cls.home = folder.name
        os.chmod(cls.home, 0o700)
        cls.addClassCleanup(subprocess.run, ['gpgconf', '--homedir', cls.home, '--kill', 'all'])
        for name in ('vault_encrypt', 'vault_sign', 'stranger'):
            # as env-create makes them: one key for all that RSA can
            gpg(cls.home, '--quick-generate-key', name, 'rsa2048', 'sign,encr', 'never')
        cls.secret = {name: gpg(cls.home, '--armor', '--export-secret-keys', name) for name in ('vault_encrypt', 'vault_sign')}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.keys, self.files = Path(folder.name) / 'keys', Path(folder.name) / 'files'
        self.keys.mkdir()
        self.files.mkdir()
        places = override_settings(GPG_FOLDER=self.keys, VAULT_FOLDER=self.files)
        places.enable()
        self.addCleanup(places.disable)
        for name, key in self.secret.items():
            (self.keys / ('%s.asc' % name)).write_bytes(key)

    def test_a_file_goes_in_sealed_and_comes_back(self):
        with vault.keyring() as ring:
            path = vault.write('a', b'a text that nobody shall read', ring)
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            self.assertNotIn(b'nobody', path.read_bytes())
            self.assertEqual(vault.read('a', ring), b'a text that nobody shall read')
        told = gpg(self.home, '--status-fd', '1', '--decrypt', str(path)).decode()
        self.assertIn('DECRYPTION_OKAY', told)
        self.assertIn('GOODSIG', told)
        self.assertEqual([file.name for file in self.files.iterdir()], ['a.gpg'])

    def test_nothing_of_the_keys_stays(self):
        with vault.keyring() as ring:
            home = ring.home
            vault.write('a', b'x', ring)
        self.assertFalse(os.path.exists(home))
        left = [line for line in subprocess.run(['ps', '-eo', 'args'], stdout=subprocess.PIPE, text=True).stdout.splitlines() if home in line]
        self.assertEqual(left, [])

    def test_without_the_secret_key_it_is_sealed_all_the_same(self):
        (self.keys / 'vault_encrypt.asc').write_bytes(gpg(self.home, '--armor', '--export', 'vault_encrypt'))
        self.assertIn('cannot be read back', vault.round_trip('a'))
        with vault.keyring() as ring:
            self.assertTrue(vault.is_sealed('a', ring))
            (self.files / 'a.gpg').write_bytes(gpg(self.home, '--encrypt', '-r', 'stranger', input=b'x'))
            self.assertFalse(vault.is_sealed('a', ring))
            (self.files / 'a.gpg').write_bytes(b'plain')
            self.assertFalse(vault.is_sealed('a', ring))

    def test_what_was_changed_or_signed_by_others_is_not_read(self):
        with vault.keyring() as ring:
            path = vault.write('a', b'x' * 3000, ring)
            sealed = bytearray(path.read_bytes())
            sealed[-40] ^= 1
            wrong = {
                'changed': bytes(sealed),
                'not signed': gpg(self.home, '--encrypt', '-r', 'vault_encrypt', input=b'x'),
                'by a stranger': gpg(self.home, '--sign', '--encrypt', '-u', 'stranger', '-r', 'vault_encrypt', input=b'x'),
                'not encrypted': gpg(self.home, '--sign', '-u', 'vault_sign', input=b'x'),
            }
            for how, content in wrong.items():
                with self.subTest(how), self.assertRaises(vault.Trouble):
                    path.write_bytes(content)
                    vault.read('a', ring)

    def test_what_is_wrong_with_the_keys_is_told(self):
        def told():
            with self.assertRaises(vault.Trouble) as caught:
                vault.round_trip('a')
            return str(caught.exception)
        (self.keys / 'vault_sign.asc').write_bytes(gpg(self.home, '--armor', '--export', 'vault_sign'))
        self.assertIn('no secret key', told())
        (self.keys / 'vault_sign.asc').write_bytes(b'no key')
        self.assertIn('vault_sign.asc', told())
        (self.keys / 'vault_sign.asc').unlink()
        self.assertIn('vault_sign.asc is not there', told())
