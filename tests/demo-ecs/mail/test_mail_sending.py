"""Outgoing mail: rows, one answer a sender, and what becomes of a mail that postfix does not take."""
import datetime
import threading
from email import message_from_bytes, policy

from django.db import connection
from django.template.loader import render_to_string
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from mail import part, receive, room, rules, send
from mail.models import Answered, Message, Pulse
from mail_help import ME, WHO, Sink, free_port, letter


def received(**options):
    content = letter(**options)
    receive.store(content, options.get('envelope', WHO), [ME])
    return Message.objects.get(key=rules.delivery_key(content))


def sneaky(count):
    return ''.join(f'{n}x' for n in range(count))


@override_settings(DOMAIN='appliance.test', DEFAULT_FROM_EMAIL='ecs@appliance.test', SMTP_HOST='127.0.0.1')
class Sending(TransactionTestCase):
    def setUp(self):
        self.sink = Sink()
        self.addCleanup(self.sink.stop)
        port = override_settings(SMTP_PORT=self.sink.port)
        port.enable()
        self.addCleanup(port.disable)

    def row(self):
        return Message.objects.get(direction=Message.OUT)

    def later(self, **change):
        Message.objects.filter(direction=Message.OUT).update(next_try=timezone.now() - datetime.timedelta(seconds=1), **change)

    def test_an_answer_is_threaded_and_marked(self):
        message_id = f'<{sneaky(90)}@else.test>'
        received(subject='=?utf-8?q?Gr=C3=BC=C3=9Fe_an_Alle?=', message_id=message_id, References='<a@x> <b@x>')
        send.flush()
        (sender, to, mail), = self.sink.mails()
        self.assertIn(sender, ('', '<>'))
        self.assertEqual(to, [WHO])
        self.assertEqual((mail['From'], mail['To'], mail['Auto-Submitted']), (ME, WHO, 'auto-replied'))
        self.assertEqual(mail['In-Reply-To'], message_id)
        self.assertEqual(mail['References'].split(), ['<a@x>', '<b@x>', message_id])
        self.assertEqual(rules.subject(mail), 'Auto: Grüße an Alle')
        self.assertRegex(mail['Message-Id'], r'\A<[^@<>]+@appliance\.test>\Z')
        self.assertTrue(mail['Date'])
        self.assertEqual(self.row().answers, Message.objects.get(direction=Message.IN))
        self.assertEqual(self.row().state, Message.SENT)

    def test_what_we_originate_says_that_a_program_wrote_it(self):
        row = send.send_test(WHO)
        (sender, to, mail), = self.sink.mails()
        self.assertEqual((row.state, sender, to, mail['From'], mail['Auto-Submitted']), (Message.SENT, ME, [WHO], ME, 'auto-generated'))
        self.assertTrue(mail['Message-Id'].endswith('@appliance.test>') and mail['Date'])
        self.assertIsNone(mail['In-Reply-To'])
        parent = received(message_id='<q@else.test>', Auto_Submitted='auto-generated')
        row = send.originate(WHO, 'Re: it', 'Text', parent)
        mail = message_from_bytes(bytes(row.raw))
        self.assertEqual((mail['In-Reply-To'], mail['References']), ('<q@else.test>', '<q@else.test>'))

    def test_no_value_can_add_a_header_or_leave_ascii(self):
        for subject in ('x\r\nBcc: eve@else.test', 'x\n\nbody', 'x\0y', '\u2028Bcc: e@x', 'ä' * 3000, 'x' * 3000, '\ud800', '😀 é', '', ' '):
            raw = bytes(send.originate(WHO, subject, '.\r\nä\0' + 'y' * 3000, None).raw)
            mail = message_from_bytes(raw, policy=policy.default)
            self.assertEqual([name.lower() for name in mail.keys() if name.lower() == 'bcc'], [])
            self.assertEqual(len(mail.get_all('Subject')), 1)
            self.assertIn('ä', mail.get_content())
            self.assertTrue(raw.isascii() and b'\0' not in raw)
            self.assertLess(max(map(len, raw.split(b'\r\n'))), 998)
            self.assertNotIn(b'\n', raw.replace(b'\r\n', b''))
        for address in ('x@y\r\nBcc: z@y', 'x', '', 'a b@y', '<a@y>', 'a@y, b@y', 'ä@y'):
            with self.assertRaises(send.BadAddress):
                send.send_test(address)

    def test_lines_of_dots_arrive_as_they_were(self):
        send.originate(WHO, 'Dots', '.\n..\n.x\nend\n')
        send.flush()
        (_, _, mail), = self.sink.mails()
        self.assertEqual(mail.get_payload(decode=True).replace(b'\r\n', b'\n'), b'.\n..\n.x\nend\n')

    def test_a_sender_gets_one_answer_in_24_hours(self):
        for n, sender in enumerate((WHO, WHO, 'ANNA+work@else.test')):
            receive.store(letter(subject=f'No. {n}'), sender, [ME])
        self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 1)
        self.assertEqual(Message.objects.filter(direction=Message.IN, verdict__startswith='had an answer').count(), 2)
        Answered.objects.update(at=timezone.now() - datetime.timedelta(hours=23, minutes=59))
        received(subject='Almost')
        self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 1)
        Answered.objects.update(at=timezone.now() - datetime.timedelta(hours=24, minutes=1))
        received(subject='Next day')
        self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 2)

    def test_all_senders_together_get_so_many_answers_an_hour(self):
        with override_settings(MAIL_ANSWERS=3):
            for n in range(5):
                receive.store(letter(sender=f'forged{n}@else.test'), f'forged{n}@else.test', [ME])
            self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 3)
            self.assertEqual(Message.objects.filter(verdict='too many answers in this hour').count(), 2)
            # who got none may have one later
            self.assertEqual(Answered.objects.count(), 3)
            Message.objects.filter(direction=Message.OUT).update(made=timezone.now() - datetime.timedelta(minutes=61))
            receive.store(letter(subject='Later', sender='forged4@else.test'), 'forged4@else.test', [ME])
            self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 4)

    def test_what_is_old_goes_and_what_is_to_be_sent_does_not(self):
        old = received(subject='Old')
        received(subject='New', envelope='bea@else.test')
        waits = send.originate(WHO, 'Waits', 'Text', old)
        answered = Message.objects.get(answers=old, sender='')
        Message.objects.filter(pk=answered.pk).update(state=Message.SENT)
        past = timezone.now() - datetime.timedelta(days=31)
        Message.objects.filter(pk__in=[old.pk, waits.pk, answered.pk]).update(made=past)
        Answered.objects.filter(sender=WHO).update(at=past)
        room.clear()
        self.assertEqual(set(Message.objects.values_list('subject', flat=True)), {'New', 'Auto: New', 'Waits'})
        self.assertIsNone(Message.objects.get(pk=waits.pk).answers)
        self.assertEqual(list(Answered.objects.values_list('sender', flat=True)), ['bea@else.test'])

    def test_all_mails_together_have_a_room(self):
        now = [0.0]
        place = room.Room(lambda: now[0])
        with override_settings(MAIL_ROOM=10 * room.ROW):
            self.assertEqual([place.take(room.ROW) for _ in range(6)], [True] * 5 + [False])
            self.assertTrue(place.take(0) is False)
            # it looks again: nothing was stored after all
            now[0] += room.LOOK + 1
            self.assertTrue(place.take(room.ROW))
            receive._beat()
            self.assertTrue(part.mail_in()[0])
            for n in range(9):
                send.originate(WHO, f'No. {n}', 'Text')
            self.assertGreater(room.used(), 9 * room.ROW)
            self.assertEqual(part.mail_in(), (False, 'mails have nearly all of their room: new ones are about to be refused'))

    def _race(self, work, count=6):
        """The work in so many threads that start together, each with its own connection."""
        results, line = [], threading.Barrier(count)

        def one():
            try:
                line.wait()
                results.append(work())
            finally:
                connection.close()
        threads = [threading.Thread(target=one) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(results), count)
        return results

    def test_a_race_gives_one_answer_and_hands_it_in_once(self):
        for old in (False, True):
            Answered.objects.all().delete()
            if old:
                Answered.objects.create(sender=WHO, at=timezone.now() - datetime.timedelta(days=2))
            self.assertEqual(sorted(self._race(lambda: send.take_turn(WHO))), [False] * 5 + [True])
        Answered.objects.all().delete()
        message = received()
        Message.objects.filter(direction=Message.OUT).delete()
        Answered.objects.all().delete()
        rows = self._race(lambda: send.answer(message))
        self.assertEqual(len([row for row in rows if row]), 1)
        self.assertEqual(len(self.sink.taken), 1)
        Message.objects.filter(direction=Message.OUT).delete()
        send.send_test(WHO)
        self.sink.taken.clear()
        self.later(state=Message.QUEUED)
        self._race(send.flush)
        self.assertEqual(len(self.sink.taken), 1)

    def test_a_redelivery_in_a_race_is_one_row(self):
        content = letter()
        self.assertEqual(sorted(self._race(lambda: receive.store(content, WHO, [ME]))), [False] * 5 + [True])
        self.assertEqual(Message.objects.filter(direction=Message.IN).count(), 1)
        self.assertEqual(Message.objects.filter(direction=Message.OUT).count(), 1)

    def test_mail_waits_for_a_postfix_that_is_away_or_busy(self):
        with override_settings(SMTP_PORT=free_port()):
            self.assertEqual(send.send_test(WHO).state, Message.QUEUED)
        send.flush()
        self.assertEqual(self.row().state, Message.QUEUED, 'not before it is due')
        self.sink.replies = ['451 later']
        self.later()
        send.flush()
        self.assertEqual((self.row().state, self.row().attempts), (Message.QUEUED, 2))
        self.later()
        send.flush()
        self.assertEqual((self.row().state, len(self.sink.taken)), (Message.SENT, 1))
        self.later()
        send.flush()
        self.assertEqual(len(self.sink.taken), 1)

    def test_what_postfix_refuses_or_what_waits_too_long_is_given_up(self):
        self.sink.replies = ['550 no', '451 later']
        self.assertEqual(send.send_test(WHO).state, Message.FAILED)
        Message.objects.all().delete()
        with override_settings(SMTP_PORT=free_port()):
            send.send_test(WHO)
        self.later(made=timezone.now() - send.GIVE_UP_AFTER * 2)
        send.flush()
        self.assertEqual(self.row().state, Message.FAILED)

    def test_what_may_have_been_taken_is_never_sent_again(self):
        self.sink.replies = ['drop']
        self.assertEqual(send.send_test(WHO).state, Message.UNSURE)
        self.later()
        send.flush()
        self.assertEqual((self.row().state, len(self.sink.taken)), (Message.UNSURE, 1))
        # one whose sender died between claim and result
        Message.objects.all().delete()
        send.send_test(WHO)
        Message.objects.update(state=Message.SENDING, next_try=timezone.now() - send.ABANDONED_AFTER * 2)
        send.flush()
        self.assertEqual((self.row().state, len(self.sink.taken)), (Message.UNSURE, 2))

    def test_the_status_says_what_is_wrong_and_no_address(self):
        self.assertEqual(part.mail_in()[0], False)
        receive._beat()
        received()
        self.assertEqual(part.mail_in(), (True, 'the receiver answers, 1 mail received'))
        send.flush()
        self.assertEqual(part.state(), (True, 'the receiver answers, 1 mail received; postfix answers, 1 mail sent, 0 waiting'))
        Pulse.objects.update(at=timezone.now() - datetime.timedelta(minutes=5))
        self.assertFalse(part.mail_in()[0])
        Message.objects.filter(direction=Message.OUT).update(state=Message.QUEUED, made=timezone.now() - datetime.timedelta(hours=1))
        self.assertEqual(part.mail_out(), (False, 'postfix answers, but 1 mail waits for longer than 15 minutes'))
        with override_settings(SMTP_PORT=free_port()):
            self.assertFalse(part.mail_out()[0])
            self.assertNotIn('@', part.state()[1])
        self.assertEqual(part.received_count(), 1)

    def test_the_page_shows_the_latest_and_escapes_them(self):
        self.assertIn('No mail yet', render_to_string('mail/messages.html', part.latest()))
        received(subject='<script>alert(1)</script>')
        page = render_to_string('mail/messages.html', part.latest())
        self.assertIn('&lt;script&gt;', page)
        self.assertNotIn('<script>', page)
        self.assertIn(WHO, page)
        with self.assertNumQueries(1):
            render_to_string('mail/messages.html', part.latest(1))
