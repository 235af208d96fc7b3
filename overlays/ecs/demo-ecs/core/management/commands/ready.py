import importlib

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from core import schema


class Command(BaseCommand):
    help = 'Can this application run here? Looks at its settings, the code of all roles, the database and its tables.'
    requires_system_checks = []

    def handle(self, *args, **options):
        call_command('check', deploy=True, fail_level='ERROR')
        # the role web has none of these: a worker or a receiver that cannot even begin is found before it has to run
        for name in ('core.tasks', 'mail.receive', 'mail.management.commands.smtpd'):
            importlib.import_module(name)
        try:
            lacks = schema.missing()
        except Error as error:
            raise CommandError('the database does not answer: %s' % str(error).strip().splitlines()[0]) from None
        if lacks:
            raise CommandError('the database lacks %s' % ', '.join(lacks))
        self.stdout.write('ready')
