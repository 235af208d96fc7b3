"""The authority of client certificates, looked at by OpenSSL as nginx does."""
import datetime
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from core import ca
from django.test import SimpleTestCase, override_settings


def openssl(*args, **kwargs):
    return subprocess.run(['openssl', *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


class Authority(SimpleTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        place = override_settings(CA_FOLDER=self.folder)
        place.enable()
        self.addCleanup(place.disable)

    def command(self, *args, **kwargs):
        environment = dict(os.environ, CA_FOLDER=str(self.folder))
        return subprocess.run([sys.executable, Path(ca.__file__).parent.parent / 'manage.py', *args], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

    def accepted(self, certificate):
        """as nginx: by the authority, for clients, not revoked"""
        both = self.folder / 'both.pem'
        both.write_bytes((self.folder / 'ca.cert.pem').read_bytes() + (self.folder / 'crl.pem').read_bytes())
        file = self.folder / 'client.pem'
        file.write_bytes(certificate)
        return openssl('verify', '-crl_check', '-purpose', 'sslclient', '-x509_strict', '-CAfile', both, file).returncode == 0

    def test_who_has_a_certificate_is_accepted_until_it_is_revoked(self):
        made = self.command('client_certificate', 'Anna Ämter')
        self.assertEqual(made.returncode, 0, made.stderr)
        other = self.command('client_certificate', 'Other').stdout
        serial = made.stderr.decode().split()[-1]
        self.assertIn(serial, openssl('x509', '-noout', '-serial', input=made.stdout.decode()).stdout)
        self.assertTrue(self.accepted(made.stdout))
        self.assertTrue(self.accepted(other))
        revoked = self.command('revoke', serial.lower())
        self.assertEqual(revoked.returncode, 0, revoked.stderr)
        self.assertFalse(self.accepted(made.stdout))
        self.assertTrue(self.accepted(other))
        self.assertIn(b'already', self.command('revoke', serial).stdout)
        self.assertIn(serial, (self.folder / 'issued.txt').read_text())

    def test_what_is_no_serial_or_no_name_is_refused(self):
        ca.make()
        for args in (('revoke', 'xyz'), ('revoke', '0'), ('revoke', '1' * 80), ('client_certificate', ''), ('client_certificate', 'a\nb')):
            with self.subTest(args):
                done = self.command(*args)
                self.assertEqual(done.returncode, 1)
                self.assertNotIn(b'Traceback', done.stderr)

    def test_a_browser_gets_pkcs12_with_its_password(self):
        done = self.command('client_certificate', '--p12', 'Anna', input=b'geheim\n')
        self.assertEqual(done.returncode, 0, done.stderr)
        file = self.folder / 'a.p12'
        file.write_bytes(done.stdout)
        self.assertEqual(openssl('pkcs12', '-in', file, '-nodes', '-passin', 'pass:wrong').returncode, 1)
        told = openssl('pkcs12', '-in', file, '-nodes', '-passin', 'pass:geheim')
        self.assertEqual(told.returncode, 0, told.stdout)
        self.assertIn('PRIVATE KEY', told.stdout)

    def test_the_key_is_for_the_owner_alone_and_the_rest_for_nginx(self):
        ca.make()
        modes = {name: (self.folder / name).stat().st_mode & 0o777 for name in ('ca.key.pem', 'ca.cert.pem', 'crl.pem')}
        self.assertEqual(modes, {'ca.key.pem': 0o600, 'ca.cert.pem': 0o644, 'crl.pem': 0o644})
        self.assertTrue(ca.state()[0], ca.state()[1])

    def test_of_many_who_make_one_at_once_all_have_the_same(self):
        code = 'import django; django.setup(); from core import ca; ca.make(); print(ca.load().serial_number, ca.load_crl().is_signature_valid(ca.load_key().public_key()))'
        environment = dict(os.environ, CA_FOLDER=str(self.folder))
        many = [subprocess.Popen([sys.executable, '-c', code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        told = {one.communicate()[0].strip() for one in many}
        self.assertEqual(len(told), 1, told)
        self.assertTrue(told.pop().endswith(' True'))

    def test_the_list_is_made_anew_before_its_end_and_forgets_nobody(self):
        ca.make()
        ca.revoke(0x1234)
        before = ca.load_crl()
        ca.renew()
        self.assertEqual(ca.load_crl(), before)
        late = ca.now() + datetime.timedelta(days=15)
        with mock.patch.object(ca, 'now', lambda: late):
            ca.renew()
        after = ca.load_crl()
        self.assertGreater(after.next_update, before.next_update)
        self.assertGreater(ca._number(after), ca._number(before))
        self.assertEqual([entry.serial_number for entry in after], [0x1234])

    def test_an_authority_that_has_issued_is_not_made_anew(self):
        self.assertEqual(self.command('client_certificate', 'Anna').returncode, 0)
        key = (self.folder / 'ca.key.pem').read_bytes()
        (self.folder / 'ca.cert.pem').unlink()
        with self.assertRaises(ca.Trouble):
            ca.make()
        done = self.command('client_certificate', 'Bea')
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'ca.cert.pem is missing', done.stderr)
        self.assertEqual((self.folder / 'ca.key.pem').read_bytes(), key)
        self.assertFalse((self.folder / 'ca.cert.pem').exists())

    def test_what_is_wrong_is_told(self):
        self.assertEqual(ca.state(), (False, 'ca.cert.pem is missing'))
        ca.make()
        with mock.patch.object(ca, 'now', lambda: datetime.datetime.utcnow() + datetime.timedelta(days=31)):
            self.assertEqual(ca.state(), (False, 'the revocation list has expired'))
        (self.folder / 'ca.key.pem').unlink()
        (self.folder / 'crl.pem').unlink()
        with self.assertRaises(ca.Trouble):
            ca.make()
        (self.folder / 'ca.cert.pem').write_text('no certificate')
        self.assertFalse(ca.state()[0])
