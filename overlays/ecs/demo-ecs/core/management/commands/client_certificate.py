import getpass
import os
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from django.core.management.base import BaseCommand, CommandError

from core import ca


class Command(BaseCommand):
    help = 'Makes a client certificate, and prints it with its key (PEM), or as PKCS #12 for a browser. The serial goes to stderr.'
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument('name', help='whose it is: its common name')
        parser.add_argument('--days', type=int, default=730)
        parser.add_argument('--p12', action='store_true', help='PKCS #12; the first line of standard input is its password')

    def handle(self, *args, **options):
        name = options['name']
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise CommandError('a name has 1 to 64 printable characters')
        if not 1 <= options['days'] <= 3650:
            raise CommandError('--days: 1 to 3650')
        password = None
        if options['p12']:
            password = getpass.getpass('Password of the file: ') if sys.stdin.isatty() else sys.stdin.readline().rstrip('\n')
            if not password:
                raise CommandError('a password is needed, as the first line of standard input')
        try:
            key, certificate = ca.issue(name, options['days'])
        except (ca.Trouble, OSError) as error:
            raise CommandError(str(error)) from None
        if options['p12']:
            out = pkcs12.serialize_key_and_certificates(
                name.encode(), key, certificate, [ca.load()], serialization.BestAvailableEncryption(password.encode()))
        else:
            out = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with os.fdopen(os.dup(sys.stdout.fileno()), 'wb') as binary:
            binary.write(out)
        self.stderr.write('serial %X' % certificate.serial_number)
