"""The receiver of mail: SMTP on asyncio, one thread that stores, one that hands answers to postfix.

It is reached through stunnel, so that every peer looks alike: no address is trusted, and limits count all senders together. What
one peer may hold is bounded everywhere: sessions, lines, commands, recipients, sizes, times, and the bytes of all mails that are
coming in together.
"""
import asyncio
import concurrent.futures
import logging
import time

from aiosmtpd.smtp import SMTP
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.utils import timezone

from mail import room, rules, send
from mail.models import Message, Pulse

log = logging.getLogger(__name__)

RECIPIENTS = 50
SESSIONS = 64
LINE = 64 * 1024        # more than the 998 of RFC 5322, as some programs send; longer ones are refused
IDLE = 120              # seconds without a command, or a line of a mail
DATA_TIME = 900         # seconds for one mail
STORE_TIME = 60
GRACE = 9               # seconds for mails that are coming in when we have to stop; docker kills after 10
PIECE = 4 * 1024 * 1024
PULSE = 20
FLUSH = 15
COMMANDS = {'*': 30, 'MAIL': 200, 'RCPT': 2000, 'DATA': 200, 'RSET': 200}      # each a session


class Later(Exception):
    """The database cannot take the mail now."""


class NoRoom(Exception):
    """All mails together have as much as they may."""


left = room.Room()


def store(raw, sender, recipients):
    """Make the mail a row, with the answer it gets. True when it was new, False when it had been taken before.

    The answer is written in the same transaction and sent later: a mail is never answered that was not kept."""
    if not left.take(len(raw)):
        raise NoRoom
    key = rules.delivery_key(raw)
    mail = rules.parse(raw)
    with transaction.atomic():
        message, new = Message.objects.get_or_create(key=key, defaults=dict(
            direction=Message.IN, state=Message.RECEIVED, message_id=rules.message_id(mail),
            in_reply_to=' '.join(rules.message_ids(rules.header(mail, 'In-Reply-To'))[:1]),
            thread=' '.join(rules.references(mail)), sender=sender, recipients=recipients,
            subject=rules.subject(mail), text=rules.body(mail), raw=raw[:PIECE], size=len(raw)))
        if new:
            # the driver needs ten times what it writes at once, and the container has 256 MiB
            with connection.cursor() as cursor:
                for at in range(PIECE, len(raw), PIECE):
                    cursor.execute('UPDATE mail_message SET raw = raw || %s WHERE id = %s', [raw[at:at + PIECE], message.pk])
            send.prepare_answer(message, mail)
    return new


def _store(raw, sender, recipients):
    """store() on a connection that lives. After the database was started again the old one is dead, and is found out by using it:
    once more on a new one. If the first try was committed after all, the second finds its row."""
    for last in (False, True):
        close_old_connections()
        try:
            return store(raw, sender, recipients)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if last:
                raise Later(type(error).__name__) from None
    raise AssertionError('not reached')


def _database(function, *arguments):
    """Run a function of this module's own in a thread, on a connection that is not kept when it broke."""
    close_old_connections()
    try:
        return function(*arguments)
    except (OperationalError, InterfaceError):
        connection.close()
        raise


class Bucket:
    """At most `rate` a minute, over all senders; unused ones are kept for one minute."""

    def __init__(self, rate, clock=time.monotonic):
        self.rate, self.clock = rate, clock
        self.level, self.last = float(rate), clock()

    def take(self):
        now = self.clock()
        self.level = min(float(self.rate), self.level + (now - self.last) * self.rate / 60)
        self.last = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Full(asyncio.Protocol):
    """A session too many."""

    def connection_made(self, transport):
        transport.write(f'421 4.7.0 {settings.DOMAIN} too many sessions, try again later\r\n'.encode())
        transport.close()


class Session(SMTP):
    """One session. DATA is our own: it ends only by CR LF . CR LF, and holds no more than it may."""

    line_length_limit = LINE

    def __init__(self, receiver):
        super().__init__(receiver, data_size_limit=receiver.size_limit, hostname=settings.DOMAIN, ident='ESMTP',
                         timeout=IDLE, command_call_limit=COMMANDS, loop=receiver.loop)
        for name in ('AUTH', 'STARTTLS'):                   # stunnel did TLS; nobody logs in
            self._smtp_methods.pop(name, None)
        self.receiver = receiver
        self.busy = False

    def connection_made(self, transport):
        self.receiver.sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error):
        self.receiver.sessions.discard(self)
        super().connection_lost(error)

    def _getaddr(self, arg):
        try:
            return super()._getaddr(arg)
        except Exception:                                   # the library's parser fails in many ways on what is no address
            return None, None

    def leave(self):
        """Stop this session unless a mail is coming in: that one may finish."""
        if not self.busy and self.transport is not None:
            self._writer.write(f'421 4.3.2 {settings.DOMAIN} is going down, try again later\r\n'.encode())
            self.transport.close()

    async def smtp_DATA(self, arg):
        if await self.check_helo_needed():
            return
        if not self.envelope.rcpt_tos:
            await self.push('503 5.5.1 Error: need RCPT command')
            return
        if arg:
            await self.push('501 5.5.4 Syntax: DATA')
            return
        self.busy = True
        held = 0
        try:
            await self.push('354 End data with <CR><LF>.<CR><LF>')
            content, problem = bytearray(), ''
            fresh = True                                    # at the beginning of a line
            ends = self.loop.time() + DATA_TIME
            touched = 0.0
            size = 0
            while True:
                now = self.loop.time()
                if now > ends:
                    await self.push('421 4.4.2 Too slow')
                    self.transport.close()
                    return
                if now - touched > 1:
                    self._reset_timeout()
                    touched = now
                try:
                    piece = await self._reader.readuntil(b'\r\n')
                    whole = True
                except asyncio.LimitOverrunError as error:
                    piece = await self._reader.read(max(error.consumed, 1))
                    whole = False
                    problem = problem or '500 5.6.0 Line too long'
                if fresh and piece == b'.\r\n':
                    break
                if fresh and piece.startswith(b'.'):
                    piece = piece[1:]
                fresh = whole
                size += len(piece)
                if size > self.receiver.size_limit:
                    problem = problem or '552 5.3.4 Mail too big'
                elif not problem:
                    if self.receiver.held + len(piece) > self.receiver.held_limit:
                        problem = '452 4.3.1 Too many mails at once, try again later'
                    else:
                        self.receiver.held += len(piece)
                        held += len(piece)
                        content += piece
                if problem and held:
                    self.receiver.held -= held
                    held = 0
                    content = bytearray()
            if problem:
                status = problem
            else:
                raw = bytes(content)
                content = bytearray()
                # storing has its own limit
                self._reset_timeout(STORE_TIME + IDLE)
                status = await self.receiver.take(raw, self.envelope)
            await self.push(status)
        finally:
            self._set_post_data_state()
            self.receiver.held -= held
            self.busy = False
            if self.transport is not None:
                self._reset_timeout()
            if self.receiver.stopping:
                self.leave()


class Receiver:
    """The server. `start()` it in a running loop, `stop()` it there."""

    def __init__(self, host='0.0.0.0', port=8025, background=True, grace=GRACE):
        self.host, self.port, self.background, self.grace = host, port, background, grace
        self.size_limit = settings.MAIL_SIZE_LIMIT
        self.held, self.held_limit = 0, 3 * self.size_limit
        self.bucket = Bucket(settings.MAIL_RATE)
        self.sessions = set()
        self.stopping = False
        # one thread each: a mail of the largest size is parsed and quoted in memory, and a postfix that hangs holds up no storing
        self.storing = concurrent.futures.ThreadPoolExecutor(1, 'store')
        self.sending = concurrent.futures.ThreadPoolExecutor(1, 'send')
        self.tasks = []
        self.loop = self.server = self.wake = None

    async def start(self):
        self.loop = asyncio.get_running_loop()
        self.wake = asyncio.Event()
        self.server = await self.loop.create_server(
            lambda: Full() if len(self.sessions) >= SESSIONS else Session(self), self.host, self.port, backlog=128)
        self.port = self.server.sockets[0].getsockname()[1]
        if self.background:
            self.tasks = [self.loop.create_task(self._flushes()), self.loop.create_task(self._pulses())]

    async def stop(self):
        """Take no new session, end idle ones, let mails that are coming in finish for a while."""
        self.stopping = True
        self.server.close()
        for task in self.tasks:
            task.cancel()
        for session in list(self.sessions):
            session.leave()
        ends = self.loop.time() + self.grace
        while self.sessions and self.loop.time() < ends:
            await asyncio.sleep(0.02)
        for session in list(self.sessions):                 # they had no 250: their senders keep the mail
            if session.transport is not None:
                session.transport.abort()
        await self.server.wait_closed()
        for pool in (self.storing, self.sending):
            pool.submit(lambda: connection.close())         # of that thread
            await asyncio.wait([self.loop.run_in_executor(None, pool.shutdown)], timeout=2)

    async def _flushes(self):
        while True:
            try:
                await self.loop.run_in_executor(self.sending, _database, send.flush)
            except Exception as error:                      # the next round may do better: this loop must not end
                log.warning('cannot look for outgoing mail: %s', type(error).__name__)
            try:
                await asyncio.wait_for(self.wake.wait(), FLUSH)
            except asyncio.TimeoutError:
                pass
            self.wake.clear()

    async def _pulses(self):
        while True:
            try:
                await asyncio.wait_for(self._greet(), 10)
                await self.loop.run_in_executor(self.storing, _database, _beat)
            except Exception as error:
                log.warning('no sign of life: %s', type(error).__name__)
            await asyncio.sleep(PULSE)

    async def _greet(self):
        """Our own port greets."""
        host = '127.0.0.1' if self.host == '0.0.0.0' else self.host
        reader, writer = await asyncio.open_connection(host, self.port)
        try:
            if not (await reader.readline()).startswith(b'220 '):
                raise ConnectionError('no greeting')
            writer.write(b'QUIT\r\n')
            await writer.drain()
        finally:
            writer.close()

    # hooks of the session

    async def handle_MAIL(self, session, state, envelope, address, options):
        if self.stopping:
            return '421 4.3.2 Going down, try again later'
        address = '' if address == '<>' else address
        if not rules.sender_is_sane(address):
            return '553 5.1.7 Bad sender address'
        if not self.bucket.take():
            return '451 4.7.1 Too many mails, try again later'
        envelope.mail_from = address or '<>'
        envelope.mail_options.extend(options)
        return '250 2.1.0 OK'

    async def handle_RCPT(self, session, state, envelope, address, options):
        mine = rules.recipient(address, settings.DOMAIN)
        if mine is None:
            return '550 5.7.1 No such address here, and nothing is relayed'
        if len(envelope.rcpt_tos) >= RECIPIENTS:
            return '452 4.5.3 Too many recipients'
        if mine not in envelope.rcpt_tos:
            envelope.rcpt_tos.append(mine)
        return '250 2.1.5 OK'

    async def handle_exception(self, error):
        log.error('session failed: %s', type(error).__name__, exc_info=error)
        return '451 4.3.0 Something failed here, try again later'

    async def take(self, raw, envelope):
        """Store, and what to say then. 250 comes after the commit and not else."""
        sender = '' if envelope.mail_from == '<>' else envelope.mail_from
        work = self.loop.run_in_executor(self.storing, _store, raw, sender, list(envelope.rcpt_tos))
        try:
            # a store that ends later is harmless: the sender tries again and meets the row
            new = await asyncio.wait_for(work, STORE_TIME)
        except (Later, asyncio.TimeoutError) as error:
            log.warning('mail not taken: %s', error or type(error).__name__)
            return '451 4.3.0 Cannot store mail now, try again later'
        except NoRoom:
            log.warning('mail not taken: no room for more')
            return '452 4.3.1 No room for more mail, try again later'
        self.wake.set()
        return '250 2.6.0 Taken' if new else '250 2.6.0 Taken before'


def _beat():
    Pulse.objects.update_or_create(name='smtpd', defaults={'at': timezone.now()})
