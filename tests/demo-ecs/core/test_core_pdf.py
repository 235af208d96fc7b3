"""PDFs: made, signed by a stand-in of pdfas, checked."""
import os
import subprocess
import tempfile
import threading
from unittest import mock

import stand_ins
from core import pdf
from django.test import SimpleTestCase, override_settings


class Pdf(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        key, certificate = os.path.join(folder.name, 'key'), os.path.join(folder.name, 'cert')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=Test signer', '-keyout', key, '-out', certificate],
                       check=True, stderr=subprocess.DEVNULL)
        cls.pair = key, certificate
        server = stand_ins.pdfas(0, key, certificate)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cls.addClassCleanup(server.shutdown)
        places = override_settings(PDFAS_URL='http://127.0.0.1:%d/pdf-as-web/' % server.server_port, PDFAS_SECRET='abc')
        places.enable()
        cls.addClassCleanup(places.disable)
        secret = mock.patch.object(stand_ins, 'SECRET', 'abc')
        secret.start()
        cls.addClassCleanup(secret.stop)

    def trouble(self, *args):
        with self.assertRaises(pdf.Trouble) as caught:
            pdf.verify(*args)
        return str(caught.exception)

    def test_what_is_made_is_a_pdf_with_the_lines_on_it(self):
        told = subprocess.run(['pdftotext', '-', '-'], input=pdf.make(['One (1) \\ two', 'Ä']), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        self.assertEqual(told.stdout.decode().split('\n')[:2], ['One (1) \\ two', 'Ä'])
        self.assertEqual(told.stderr, b'')

    def test_what_pdfas_signs_is_right(self):
        original = pdf.sample()
        self.assertIn('Test signer', pdf.verify(pdf.sign(original), original))
        self.assertIn('Test signer', pdf.round_trip())

    def test_no_signature_without_the_secret(self):
        for secret in ('', 'wrong'):
            with self.subTest(secret), override_settings(PDFAS_SECRET=secret), self.assertRaises(pdf.Trouble):
                pdf.sign(pdf.sample())

    def test_a_pdfas_that_is_not_there_is_told(self):
        with override_settings(PDFAS_URL='http://127.0.0.1:1/'), self.assertRaises(pdf.Trouble) as caught:
            pdf.sign(pdf.sample())
        self.assertIn('does not answer', str(caught.exception))

    def test_what_pdfas_refuses_is_told_in_its_words(self):
        with self.assertRaises(pdf.Trouble) as caught:
            pdf.sign(b'no pdf')
        self.assertIn('422 This is not a PDF.', str(caught.exception))

    def test_a_signature_counts_only_for_all_of_what_was_signed(self):
        original = pdf.sample()
        signed = stand_ins.sign(original, *self.pair)
        pdf.verify(signed, original)
        # as some write it: of no definite length
        pdf.verify(stand_ins.sign(original, *self.pair, '-stream'), original)
        self.assertIn('no signature', self.trouble(original))
        self.assertIn('not cover', self.trouble(signed + b'more'))
        self.assertIn('not cover', self.trouble(signed[:-1]))
        self.assertIn('another PDF', self.trouble(signed, pdf.make(['another'])))
        for place in (20, len(original) - 3, len(original) + 12, len(signed) - 4):
            changed = bytearray(signed)
            changed[place] ^= 1
            with self.subTest(place):
                self.trouble(bytes(changed))
        other = stand_ins.sign(pdf.make(['another']), *self.pair)
        cut = signed.index(b'/Contents') + 10
        cut_other = other.index(b'/Contents') + 10
        self.trouble(signed[:cut] + other[cut_other:cut_other + 2 * stand_ins.ROOM] + signed[cut + 2 * stand_ins.ROOM:])
        self.trouble(signed[:cut] + b'0' * 2 * stand_ins.ROOM + signed[cut + 2 * stand_ins.ROOM:])
