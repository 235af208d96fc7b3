from django.core.management import call_command
from django.core.management.base import BaseCommand

from core import schema


class Command(BaseCommand):
    help = 'Waits for the tables, and says why it waits; then runs another command in the same process.'
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument('command')
        parser.add_argument('arguments', nargs='*')

    def handle(self, *args, **options):
        schema.wait(options['command'])
        call_command(options['command'], *options['arguments'])
