import asyncio
import logging
import signal

from django.core.management.base import BaseCommand

from mail.receive import Receiver


class Command(BaseCommand):
    help = 'Receive mail by SMTP until SIGTERM; a mail that is coming in then is taken to its end.'
    requires_migrations_checks = False
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument('--host', default='0.0.0.0')
        parser.add_argument('--port', type=int, default=8025)

    def handle(self, *args, **options):
        # the library logs every address and command
        logging.getLogger('mail.log').setLevel(logging.ERROR)
        asyncio.run(self._serve(options['host'], options['port']))

    async def _serve(self, host, port):
        ends = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ends.set)
        receiver = Receiver(host, port)
        await receiver.start()
        self.stdout.write(f'receiving mail on {host}:{receiver.port}')
        self.stdout.flush()
        await ends.wait()
        await receiver.stop()
        self.stdout.write('stopped')
