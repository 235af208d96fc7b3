"""What the tests of mail share: a stand-in for postfix, the receiver in a thread or as the real command, a cuttable connection."""
import asyncio
import contextlib
import logging
import os
import pathlib
import select
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from email import message_from_bytes
from urllib.parse import quote

from aiosmtpd.controller import Controller
from django.db import connection

from mail.receive import Receiver

# the library logs every command
logging.getLogger('mail.log').setLevel(logging.ERROR)

APP = pathlib.Path(sys.modules['mail'].__file__).resolve().parent.parent
ME = 'ecs@appliance.test'
WHO = 'anna@else.test'


def letter(sender=WHO, to=ME, subject='Hello', body='A question.\r\n', message_id=None, **headers):
    """A mail of a person, as bytes. `headers`: more of them, '_' for '-'; None leaves one out."""
    fields = {'From': sender, 'To': to, 'Subject': subject, 'Date': 'Mon, 02 Mar 2026 10:00:00 +0000',
              'Message-Id': message_id or f'<{os.urandom(8).hex()}@else.test>'}
    fields.update({name.replace('_', '-'): value for name, value in headers.items()})
    head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items() if value is not None)
    return (head + '\r\n' + body).encode('utf-8', 'surrogateescape')


class Sink:
    """Stands in for postfix: a real SMTP server that keeps what it takes. `replies` are said to the next mails instead of 250;
    'drop' ends the connection after the mail, without a word. `route(sender, recipients, content)` sees each mail."""

    def __init__(self, route=None):
        self.taken, self.replies, self.route = [], [], route
        self.lock = threading.Lock()
        self.controller = Controller(self, hostname='127.0.0.1', port=free_port())
        self.controller.start()
        self.port = self.controller.port

    async def handle_DATA(self, server, session, envelope):
        with self.lock:
            reply = self.replies.pop(0) if self.replies else '250 OK'
            if reply.startswith('250') or reply == 'drop':
                self.taken.append((envelope.mail_from, list(envelope.rcpt_tos), bytes(envelope.content)))
        if reply == 'drop':
            server.transport.abort()
        elif reply.startswith('250') and self.route:
            await asyncio.get_running_loop().run_in_executor(
                None, self.route, envelope.mail_from, envelope.rcpt_tos, bytes(envelope.content))
        return reply

    def mails(self):
        return [(sender, to, message_from_bytes(content)) for sender, to, content in self.taken]

    def stop(self):
        self.controller.stop()


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def wait_for(check, seconds=10):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f'not within {seconds} s')


class Running:
    """A Receiver in a thread of this process, with the settings of the moment."""

    def __init__(self, background=True):
        self.loop = asyncio.new_event_loop()
        self.receiver = Receiver('127.0.0.1', 0, background=background, grace=3)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.receiver.start(), self.loop).result(10)
        self.port = self.receiver.port

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.receiver.stop(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@contextlib.contextmanager
def session(port, name='peer.test'):
    client = smtplib.SMTP('127.0.0.1', port, local_hostname=name, timeout=20)
    try:
        client.ehlo()
        yield client
    finally:
        client.close()


def exactly(client, content):
    """The reply to a mail of just these bytes (they end with CR LF): smtplib itself would tidy them."""
    client.docmd('DATA')
    client.send(b''.join((b'.' if one.startswith(b'.') else b'') + one + b'\r\n' for one in content[:-2].split(b'\r\n')) + b'.\r\n')
    return client.getreply()


def deliver(port, content, sender=WHO, to=(ME,)):
    """(code, text) of the last thing said: a refused sender, all recipients refused, or what came after the mail."""
    with session(port) as client:
        code, text = client.mail(sender)
        if code != 250:
            return code, text
        replies = [client.rcpt(one) for one in to]
        if not any(code == 250 for code, _ in replies):
            return replies[-1]
        return client.data(content)


def database_url(name=None, port=None):
    """Of the test's database: for a process that we start. `port`: of a Gate, on 127.0.0.1."""
    have = connection.settings_dict
    host, port = ('127.0.0.1', port) if port else (have['HOST'] or '/var/run/postgresql', have['PORT'] or 5432)
    login = quote(have['USER'], safe='')
    if have['PASSWORD']:
        login += ':' + quote(have['PASSWORD'], safe='')
    name = quote(name or have['NAME'], safe='')
    if host.startswith('/'):
        return f'postgresql://{login}@/{name}?host={quote(host, safe="")}&port={port}'
    return f'postgresql://{login}@{host}:{port}/{name}'


class Process:
    """The real command, as the container runs it."""

    def __init__(self, smtp_port, domain='appliance.test', url=None):
        environment = dict(os.environ, DATABASE_URL=url or database_url(), SMTP_URL=f'smtp://127.0.0.1:{smtp_port}', APPLIANCE_DOMAIN=domain,
                           PYTHONUNBUFFERED='1')
        self.log = []
        self.child = subprocess.Popen(
            [sys.executable, os.environ.get('DEMO_ECS_MANAGE', str(APP / 'manage.py')), 'smtpd', '--host', '127.0.0.1', '--port', '0'],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = 0
        while not self.port:
            text = self.child.stdout.readline()
            if not text:
                raise AssertionError('smtpd ended: ' + ''.join(self.log))
            self.log.append(text)
            if text.startswith('receiving mail on'):
                self.port = int(text.rpartition(':')[2])
        self.reader = threading.Thread(target=lambda: self.log.extend(self.child.stdout), daemon=True)
        self.reader.start()

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(20)
        finally:
            if self.child.poll() is None:
                self.child.kill()
                self.child.wait()
            self.reader.join(5)
            self.child.stdout.close()


class Gate:
    """A way to PostgreSQL that can be cut: all its connections end, and new ones are refused, as when the database goes."""

    def __init__(self):
        self.port, self.pairs, self.listener = free_port(), [], None
        self.open()

    def open(self):
        self.listener = socket.create_server(('127.0.0.1', self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self):
        # a blocked accept() would keep the port
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in [end for pair in self.pairs for end in pair]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.pairs.clear()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            have = connection.settings_dict
            host, port = have['HOST'] or '/var/run/postgresql', have['PORT'] or 5432
            if host.startswith('/'):
                far = socket.socket(socket.AF_UNIX)
                far.connect(f'{host}/.s.PGSQL.{port}')
            else:
                far = socket.create_connection((host, int(port)))
            self.pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    @staticmethod
    def _carry(near, far):
        with contextlib.suppress(OSError), near, far:
            while True:
                for one in select.select([near, far], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    (far if one is near else near).sendall(data)
