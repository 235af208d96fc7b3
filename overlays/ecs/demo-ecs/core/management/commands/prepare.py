from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

from core import ca

LOCK = 0x656373  # "ecs"


class Command(BaseCommand):
    help = 'Makes the tables what this application needs, one process at a time, and the authority of client certificates.'
    requires_system_checks = []

    def handle(self, *args, **options):
        with connection.cursor() as cursor:
            cursor.execute('set statement_timeout = 0')
            cursor.execute('set lock_timeout = 0')
            # it goes with the connection
            cursor.execute('select pg_advisory_lock(%s)', [LOCK])
        call_command('migrate', interactive=False, verbosity=options['verbosity'])
        try:
            ca.make()
        except (ca.Trouble, OSError, ValueError) as error:  # the tables are as they should be; the status page says so of this
            self.stderr.write('the authority of client certificates could not be made, or its list renewed: %s' % error)
