"""The receiver, by real SMTP: in a thread of this process, and as the command that the container runs."""
import concurrent.futures
import random
import smtplib
import socket
import subprocess
import sys
import time
import os

from django.db import connection
from django.test import TransactionTestCase, override_settings

from mail import receive, rules
from mail.models import Message, Pulse
from mail_help import APP, ME, WHO, Gate, Process, Running, Sink, database_url, deliver, exactly, letter, session, wait_for


def incoming():
    return Message.objects.filter(direction=Message.IN)


@override_settings(DOMAIN='appliance.test', DEFAULT_FROM_EMAIL='ecs@appliance.test', SMTP_HOST='127.0.0.1', MAIL_SIZE_LIMIT=300_000,
                   MAIL_RATE=6000)
class Receiving(TransactionTestCase):
    def serve(self, **options):
        running = Running(**options)
        self.addCleanup(running.stop)
        return running

    def test_a_mail_is_stored_answered_and_taken_once(self):
        sink = Sink()
        self.addCleanup(sink.stop)
        with override_settings(SMTP_PORT=sink.port):
            running = self.serve()
            content = letter(message_id='<q@else.test>')
            self.assertEqual(deliver(running.port, content), (250, b'2.6.0 Taken'))
            (_, to, mail), = wait_for(sink.mails)
            self.assertEqual((to, mail['In-Reply-To'], mail['Auto-Submitted']), ([WHO], '<q@else.test>', 'auto-replied'))
            self.assertEqual(deliver(running.port, content), (250, b'2.6.0 Taken before'))
            self.assertEqual(deliver(running.port, b'Received: from z\r\n' + content)[0], 250)
            row = incoming().get()
            self.assertEqual((row.sender, row.recipients, row.subject, bytes(row.raw)), (WHO, [ME], 'Hello', content))
            self.assertTrue(wait_for(lambda: Pulse.objects.filter(name='smtpd').exists()))
            time.sleep(0.2)
            self.assertEqual(len(sink.taken), 1)

    def test_programs_and_bounces_are_taken_and_not_answered(self):
        running = self.serve(background=False)
        for sender, content in (('', letter()), (WHO, letter(Auto_Submitted='auto-replied')), (WHO, letter(to='list@else.test'))):
            self.assertEqual(deliver(running.port, content, sender)[0], 250)
        self.assertEqual(incoming().count(), 3)
        self.assertEqual(Message.objects.exclude(direction=Message.IN).count(), 0)

    def test_other_domains_bad_addresses_and_too_many_are_refused(self):
        running = self.serve(background=False)
        with session(running.port) as client:
            self.assertEqual(client.docmd('MAIL FROM:<no address>')[0], 553)
            self.assertEqual(client.docmd('MAIL FROM:<a\0b@x.test>')[0], 553)
            self.assertEqual(client.docmd('RCPT TO:<ecs@appliance.test>')[0], 503)
            self.assertEqual(client.mail(WHO)[0], 250)
            self.assertEqual(client.docmd('DATA')[0], 503)
            for bad in ('<x@else.test>', '<x%else.test@appliance.test>', '<x>', '<"x y"@appliance.test>', '<x@[127.0.0.1]>', '<@>',
                        '<x@else.test@appliance.test>', '<@else.test:x@other.test>', '<>'):
                self.assertIn(client.docmd(f'RCPT TO:{bad}')[0] // 100, (5,), bad)
            self.assertEqual(client.docmd('RCPT TO:<x@else.test>')[0], 550)
            for n in range(50):
                self.assertEqual(client.rcpt(f'x{n}@appliance.test')[0], 250)
            self.assertEqual(client.rcpt('one-more@appliance.test')[0], 452)
            self.assertEqual(client.data(letter())[0], 250)
        self.assertEqual(len(incoming().get().recipients), 50)

    def test_nobody_logs_in_or_says_for_whom_he_speaks(self):
        running = self.serve(background=False)
        with session(running.port) as client:
            self.assertFalse(client.has_extn('auth') or client.has_extn('starttls'))
            self.assertEqual(client.docmd('AUTH PLAIN AGEAYg==')[0], 500)
            self.assertEqual(client.docmd('STARTTLS')[0], 500)
            self.assertEqual(client.docmd('PROXY TCP4 1.2.3.4 5.6.7.8 1 2')[0], 500)
            self.assertIn(client.docmd('VRFY ecs@appliance.test')[0], (252, 502))

    def test_what_is_too_big_is_refused_early_and_late(self):
        running = self.serve(background=False)
        with session(running.port) as client:
            self.assertEqual(client.esmtp_features['size'], '300000')
            self.assertEqual(client.docmd('MAIL FROM:<a@else.test> SIZE=300001')[0], 552)
        self.assertEqual(deliver(running.port, letter(body='x' * 70 + '\r\n' * 150_000))[0], 552)
        self.assertEqual(deliver(running.port, letter(body='x' * 200_000))[0], 500)
        self.assertEqual(incoming().count(), 0)
        self.assertEqual(deliver(running.port, letter(body='x' * 5000 + '\r\n' + 'y' * 60_000 + '\r\n'))[0], 250)
        wait_for(lambda: running.receiver.held == 0)

    def test_without_room_the_sender_keeps_the_mail(self):
        running = self.serve(background=False)
        self.addCleanup(setattr, receive, 'left', receive.left)
        receive.left = receive.room.Room()
        with override_settings(MAIL_ROOM=20_000):
            self.assertEqual(deliver(running.port, letter())[0], 250)
            self.assertEqual(deliver(running.port, letter(body='x' * 70 + '\r\n' * 5000))[0], 452)
        self.assertEqual(incoming().count(), 1)

    def test_a_mail_that_is_written_in_pieces_is_whole(self):
        running = self.serve(background=False)
        old, receive.PIECE = receive.PIECE, 1000
        try:
            for size in (1000, 1001, 2000, 77_777):
                content = letter(subject=str(size))
                # lines of bytes of all values
                content += (bytes(n for n in range(256) if n not in b'\r\n') + b'\r\n') * (size // 256 + 1)
                content = content[:size - 2].rstrip(b'\r').ljust(size - 2, b'x') + b'\r\n'
                with session(running.port) as client:
                    client.mail(WHO)
                    client.rcpt(ME)
                    self.assertEqual(exactly(client, content)[0], 250)
                row = incoming().get(subject=str(size))
                self.assertTrue(bytes(row.raw) == content and row.size == size)
        finally:
            receive.PIECE = old

    def test_long_commands_and_too_many_of_them_end(self):
        running = self.serve(background=False)
        with session(running.port) as client:
            self.assertEqual(client.docmd('NOOP ' + 'x' * 600)[0], 500)
            self.assertEqual(client.docmd('NOOP ' + 'x' * 200_000)[0], 500)
            codes = [client.docmd('NOOP')[0] for _ in range(receive.COMMANDS['*'])]
            self.assertEqual(set(codes), {250})
            self.assertEqual(client.docmd('NOOP')[0], 421)
        with session(running.port) as client:
            with self.assertRaises(smtplib.SMTPServerDisconnected):
                for _ in range(10):
                    client.docmd('GET /')

    def test_a_mail_ends_only_by_a_dot_between_two_crlf(self):
        running = self.serve(background=False)
        trick = b'\nSubject: x\n.\nMAIL FROM:<e@x.test>\r\nRCPT TO:<ecs@appliance.test>\r\n..\n.\r\r\n'
        with session(running.port) as client:
            client.mail(WHO)
            client.rcpt(ME)
            client.docmd('DATA')
            # in two pieces, and a command behind the end
            client.send(letter() + trick[:20])
            time.sleep(0.1)
            client.send(trick[20:] + b'\r\n.\r\nNOOP\r\n')
            self.assertEqual([client.getreply()[0] for _ in range(2)], [250, 250])
        self.assertIn(b'MAIL FROM:<e@x.test>\r\nRCPT TO:<ecs@appliance.test>\r\n.\n.\r\r\n', bytes(incoming().get().raw))

    def test_senders_together_have_a_rate(self):
        with override_settings(MAIL_RATE=3):
            running = self.serve(background=False)
            codes = [deliver(running.port, letter(), sender)[0] for sender in ('a@x.test', 'b@y.test', 'c@z.test', 'd@w.test')]
        self.assertEqual(codes, [250, 250, 250, 451])
        now = [0.0]
        bucket = receive.Bucket(60, lambda: now[0])
        self.assertEqual(sum(bucket.take() for _ in range(100)), 60)
        now[0] += 2.5
        self.assertEqual(sum(bucket.take() for _ in range(100)), 2)

    def test_sessions_and_bytes_that_come_in_together_are_bounded(self):
        running = self.serve(background=False)
        sockets = [socket.create_connection(('127.0.0.1', running.port)) for _ in range(receive.SESSIONS)]
        try:
            wait_for(lambda: len(running.receiver.sessions) == receive.SESSIONS)
            with self.assertRaises(smtplib.SMTPConnectError) as caught:
                smtplib.SMTP('127.0.0.1', running.port, timeout=5)
            self.assertEqual(caught.exception.smtp_code, 421)
        finally:
            for one in sockets:
                one.close()
        wait_for(lambda: not running.receiver.sessions)
        running.receiver.held_limit = 1000
        self.assertEqual(deliver(running.port, letter(body='x\r\n' * 2000))[0], 452)
        running.receiver.held_limit = 1_000_000
        self.assertEqual(deliver(running.port, letter())[0], 250)
        # who goes away in the middle gives back what he held
        with session(running.port) as client:
            client.mail(WHO)
            client.rcpt(ME)
            client.docmd('DATA')
            client.send(b'x\r\n' * 1000)
            wait_for(lambda: running.receiver.held == 3000)
        wait_for(lambda: running.receiver.held == 0)

    def test_who_is_silent_or_slow_is_shown_the_door(self):
        old = receive.IDLE, receive.DATA_TIME
        receive.IDLE, receive.DATA_TIME = 0.4, 1.2
        try:
            running = self.serve(background=False)
            with socket.create_connection(('127.0.0.1', running.port), timeout=5) as one:
                self.assertTrue(one.recv(100).startswith(b'220'))
                self.assertEqual(one.recv(100), b'')
            receive.IDLE = 2
            with session(running.port) as client:
                client.mail(WHO)
                client.rcpt(ME)
                client.docmd('DATA')
                with self.assertRaises(OSError):
                    for _ in range(100):
                        client.send(b'x\r\n')
                        time.sleep(0.05)
        finally:
            receive.IDLE, receive.DATA_TIME = old
        self.assertEqual(incoming().count(), 0)

    def test_nul_bytes_and_unknown_charsets_are_rows(self):
        running = self.serve(background=False)
        contents = [letter(subject='a\0b', body='c\0d\r\n'), letter(message_id='<a\0b@x>'), b'\0' * 100 + b'\r\n', b'\r\n', b'.\r\n',
                    letter(body='\udcff\udcfe\r\n', Content_Type='text/plain; charset=klingon'), letter(sender='\udcff@\0'),
                    b'Subject: =?utf-8?q?=00=FF?=\r\n\r\n', b'Content-Type: text/plain; charset="\xff\0"\r\n\r\nx\r\n',
                    letter(To=f'a\0b, {ME}', In_Reply_To='<\0>', References='\0 <a@x>')]
        with session(running.port) as client:
            for content in contents:
                with self.subTest(content[:60]):
                    client.mail(WHO)
                    client.rcpt(ME)
                    self.assertEqual(exactly(client, content)[0], 250)
                    self.assertTrue(incoming().filter(key=rules.delivery_key(content)).exists())
        self.assertEqual(bytes(incoming().get(key=rules.delivery_key(contents[0])).raw), contents[0])

    def test_mutated_mails_never_break_it_and_250_is_always_a_row(self):
        running = self.serve(background=False)
        rng = random.Random(8)
        seeds = [letter(), letter(subject='=?utf-8?b?R3LDvMOfZQ==?=', References='<a@x> <b@x>', Cc='x@y.test, "a" <b@c.test>'),
                 letter(Content_Type='multipart/mixed; boundary="b"', body='--b\r\nContent-Type: text/plain; charset=utf-8\r\n'
                        'Content-Transfer-Encoding: base64\r\n\r\nw6Q=\r\n--b\r\nContent-Disposition: attachment; filename="x"\r\n\r\nx\r\n--b--\r\n'),
                 letter(Content_Type='multipart/report; boundary=r', body='--r\r\n\r\nx\r\n--r--\r\n')]
        pieces = [b'\0', b'\r', b'\n', b'\r\n', b'\r\n\r\n', b'=?', b'?=', b'=?utf-8?b?', b'"', b'(', b'<', b'>', b',', b':', b';', b'\xff', b'\xed\xa0\x80',
                  b'.\r\n', b'\r\n..', b'--b', b'charset*=utf-8\'\'%00', b'Content-Type: message/rfc822\r\n', b'@', b'\\', b'x' * 2000, b'(' * 500]

        def mutated(seed):
            content = bytearray(seed)
            for _ in range(rng.randint(1, 12)):
                at = rng.randrange(len(content) + 1)
                kind = rng.randrange(4)
                if kind == 0:
                    content[at:at] = rng.choice(pieces)
                elif kind == 1:
                    del content[at:at + rng.randint(1, 20)]
                elif kind == 2:
                    content[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
                else:
                    other = rng.randrange(len(content) + 1)
                    content[at:at] = content[other:other + rng.randint(1, 60)]
            return bytes(content) + b'\r\n'

        mails = [mutated(rng.choice(seeds)) for _ in range(200)]
        taken = set()
        with session(running.port) as client:
            for number, content in enumerate(mails):
                if number and number % 100 == 0:
                    client.quit()
                    client.connect('127.0.0.1', running.port)
                    client.ehlo()
                client.mail(WHO)
                client.rcpt(ME)
                self.assertEqual(exactly(client, content)[0], 250, content)
                taken.add(rules.delivery_key(content))
        self.assertGreater(len(taken), 150)
        # not assertEqual: it would print them all
        self.assertTrue(set(incoming().values_list('key', flat=True)) == taken)

    def test_connections_that_the_database_ended_are_made_anew(self):
        running = self.serve(background=False)
        self.assertEqual(deliver(running.port, letter())[0], 250)
        with connection.cursor() as cursor:
            cursor.execute('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()')
        self.assertEqual(deliver(running.port, letter())[0], 250)
        self.assertEqual(incoming().count(), 2)


class Command(TransactionTestCase):
    """`manage.py smtpd`, a process of its own."""

    def run_smtpd(self, *args, **options):
        process = Process(*args, **options)
        self.addCleanup(process.stop)
        return process

    def test_without_a_database_the_sender_keeps_the_mail_and_later_it_is_taken(self):
        gate, sink = Gate(), Sink()
        self.addCleanup(gate.cut)
        self.addCleanup(sink.stop)
        process = self.run_smtpd(sink.port, url=database_url(port=gate.port))
        self.assertEqual(deliver(process.port, letter(subject='Before'))[0], 250)
        gate.cut()
        content = letter(subject='Away', sender='bea@else.test')
        self.assertEqual([deliver(process.port, content, 'bea@else.test')[0] for _ in range(3)], [451] * 3)
        self.assertEqual(incoming().count(), 1)
        gate.open()
        self.assertEqual(deliver(process.port, content, 'bea@else.test')[0], 250)
        self.assertEqual(incoming().count(), 2)
        wait_for(lambda: len(sink.taken) == 2)

    def test_at_sigterm_the_mail_that_comes_in_is_finished_and_no_other_begun(self):
        sink = Sink()
        self.addCleanup(sink.stop)
        process = self.run_smtpd(sink.port)
        with session(process.port) as busy, session(process.port) as idle:
            busy.mail(WHO)
            busy.rcpt(ME)
            busy.docmd('DATA')
            busy.send(letter(body='first half\r\n'))
            process.child.terminate()
            self.assertEqual(idle.getreply()[0], 421)
            wait_for(lambda: not self._open(process.port))
            self.assertIsNone(process.child.poll())
            busy.send(b'second half\r\n.\r\n')
            self.assertEqual(busy.getreply()[0], 250)
            self.assertEqual(busy.getreply()[0], 421)
        self.assertEqual(process.stop(), 0)
        self.assertIn('second half', incoming().get().text)
        self.assertNotIn('Traceback', ''.join(process.log))

    def _open(self, port):
        try:
            socket.create_connection(('127.0.0.1', port), timeout=1).close()
            return True
        except ConnectionRefusedError:
            return False

    def test_two_that_answer_each_other_send_at_most_one_answer_each(self):
        """Even over a bad way that takes away every mark of an automatic mail."""
        other = connection.settings_dict['NAME'] + '_other'
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{other}"')
            cursor.execute(f'CREATE DATABASE "{other}"')
        self.addCleanup(self._drop, other)
        subprocess.run([sys.executable, os.environ.get('DEMO_ECS_MANAGE', str(APP / 'manage.py')), 'migrate', '--verbosity', '0'],
                       env=dict(os.environ, DATABASE_URL=database_url(other)), check=True, timeout=60)
        ports, strip, passed = {}, [False], []

        def route(sender, recipients, content):
            domain = recipients[0].rpartition('@')[2]
            if strip[0]:
                head, _, body = content.partition(b'\r\n\r\n')
                lines = [one for one in head.split(b'\r\n') if not one.lower().startswith((b'auto-submitted', b'message-id'))]
                content = b'\r\n'.join(lines) + b'\r\n\r\n' + body
                sender = next(one for one in lines if one.startswith(b'From: ')).decode().partition(': ')[2]
            passed.append((domain, deliver(ports[domain], content, '' if sender == '<>' else sender, recipients)[0]))

        sink = Sink(route)
        self.addCleanup(sink.stop)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            starts = [pool.submit(self.run_smtpd, sink.port, 'a.test'), pool.submit(self.run_smtpd, sink.port, 'b.test', database_url(other))]
            ports['a.test'], ports['b.test'] = (start.result().port for start in starts)
        # as a person at the other one would write
        self.assertEqual(deliver(ports['a.test'], letter('ecs@b.test', 'ecs@a.test'), 'ecs@b.test', ['ecs@a.test'])[0], 250)
        wait_for(lambda: passed == [('b.test', 250)])
        time.sleep(0.5)
        self.assertEqual(passed, [('b.test', 250)])
        strip[0] = True
        self.assertEqual(deliver(ports['b.test'], letter('ecs@a.test', 'ecs@b.test'), 'ecs@a.test', ['ecs@b.test'])[0], 250)
        wait_for(lambda: len(passed) == 2)
        time.sleep(1)
        self.assertEqual(passed, [('b.test', 250), ('a.test', 250)])
        self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 1)

    @staticmethod
    def _drop(name):
        with connection.cursor() as cursor:
            cursor.execute('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s', [name])
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
