from django.core.management.base import BaseCommand, CommandError

from core import ca


class Command(BaseCommand):
    help = 'Revokes a client certificate by its serial number, in hex as the page /certificate shows it.'
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument('serial')

    def handle(self, *args, **options):
        try:
            serial = int(options['serial'].replace(':', ''), 16)
        except ValueError:
            raise CommandError('a serial number is hex, as 1A2B or 1a:2b') from None
        if not 0 < serial < 1 << 160:
            raise CommandError('there is no such serial number')
        try:
            new = ca.revoke(serial)
        except (ca.Trouble, OSError, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write('%X is %s' % (serial, 'revoked' if new else 'revoked already'))
