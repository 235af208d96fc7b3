"""The rules of RFC 3834 and of safe headers, as a table."""
import unittest

from mail import rules
from mail_help import ME, WHO, letter

DOMAIN = 'appliance.test'


def why(sender=WHO, recipients=(ME,), **headers):
    return rules.why_no_answer(rules.parse(letter(**headers)), sender, list(recipients), DOMAIN)


class Answering(unittest.TestCase):
    def test_a_person_who_writes_to_us_gets_an_answer(self):
        self.assertEqual(why(), '')
        self.assertEqual(why(Auto_Submitted='no'), '')
        self.assertEqual(why(Auto_Submitted='NO (typed by hand)'), '')
        self.assertEqual(why(Auto_Submitted=' no; owner=x'), '')
        self.assertEqual(why(Precedence='first-class'), '')
        self.assertEqual(why(X_Auto_Response_Suppress='None'), '')
        self.assertEqual(why(Content_Type='multipart/mixed; boundary=report'), '')
        self.assertEqual(why(to=f'"Somebody, else" <x@y.test>, The Appliance <{ME.upper()}>'), '')
        self.assertEqual(why(to='x@y.test', Cc=f'Us <{ME}>'), '')
        self.assertEqual(why(to='=?utf-8?q?=C3=84mter?= <ecs+case7@appliance.test>', recipients=['ecs+case7@appliance.test']), '')

    def test_whatever_a_program_sent_gets_none(self):
        cases = [
            {'Auto_Submitted': 'auto-replied'}, {'Auto_Submitted': 'auto-generated'}, {'Auto_Submitted': 'AUTO-NOTIFIED; x=no'},
            {'Auto_Submitted': 'yes'}, {'Auto_Submitted': ''}, {'Auto_Submitted': 'nonsense'}, {'auto_submitted': 'auto-replied'},
            {'Precedence': 'bulk'}, {'Precedence': 'List'}, {'Precedence': ' junk (really)'},
            {'List_Id': '<x.y>'}, {'List_Unsubscribe': '<mailto:x@y.test>'}, {'LIST_POST': 'NO'}, {'List_Anything': ''},
            {'X_Auto_Response_Suppress': 'All'}, {'X_Auto_Response_Suppress': 'OOF, AutoReply'}, {'X_Autoreply': 'yes'}, {'X_Loop': WHO},
            {'Return_Path': '<>'}, {'Return_Path': ' < > '}, {'Return_Path': '<mailer-daemon@else.test>'},
            {'Content_Type': 'multipart/report; report-type=delivery-status; boundary=x'}, {'Content_Type': 'Multipart/Report'},
            {'Sender': 'owner-people@else.test'}, {'Reply_To': 'no-reply@else.test'},
        ]
        for case in cases:
            with self.subTest(case):
                self.assertNotEqual(why(**case), '')

    def test_senders_that_are_programs_get_none(self):
        for sender in ('', 'MAILER-DAEMON@else.test', 'postmaster@else.test', 'noreply@else.test', 'no-reply@else.test',
                       'No_Reply+7@else.test', 'donotreply@else.test', 'owner-list@else.test', 'list-request@else.test',
                       'list-owner@else.test', 'list-bounces@else.test', 'bounce-12-ab@else.test', 'bounces+77@else.test',
                       ME, 'anyone@Appliance.TEST', 'no address', 'x@', '@else.test', 'a b@else.test', 'x@-bad.test', 'a%b@else.test'):
            with self.subTest(sender):
                self.assertNotEqual(why(sender=sender), '')
                if '@' in sender and split_ok(sender):
                    self.assertNotEqual(why(**{'From': sender}), '')

    def test_mail_that_does_not_name_us_gets_none(self):
        for headers in ({'to': 'all@else.test'}, {'To': None}, {'to': 'undisclosed-recipients:;'}, {'to': f'{ME}.else.test'},
                        {'to': '((((((' * 2000}, {'to': '<' * 20000}):
            with self.subTest(str(headers)[:60]):
                self.assertEqual(why(**headers), 'not addressed to us in person')

    def test_one_mailbox_has_one_canonical_name(self):
        for spelled in ('Anna@Else.Test', 'anna+x@else.test', 'anna+x+y@else.test', 'anna@else.test.', 'prvs=1234abcd=anna@else.test'):
            self.assertEqual(rules.canonical(spelled), WHO)
        self.assertNotEqual(rules.canonical('anna.b@else.test'), WHO)


def split_ok(address):
    return rules.split(address) is not None


class Reading(unittest.TestCase):
    def test_recipients_are_of_our_domain_and_relay_nothing(self):
        for address in (ME, 'ECS@APPLIANCE.TEST', 'a.b+c@appliance.test', 'Postmaster'):
            self.assertIsNotNone(rules.recipient(address, DOMAIN), address)
        for address in ('ecs@else.test', 'ecs@sub.appliance.test', 'ecs@appliance.test.else.test', 'x%else.test@appliance.test',
                        '@appliance.test', 'ecs', '', 'ecs@', 'a..b@appliance.test', '.a@appliance.test', '"a b"@appliance.test',
                        'ecs@[127.0.0.1]', 'a\0b@appliance.test', 'a\n@appliance.test', 'x' * 65 + '@appliance.test',
                        'ecs@appliance.test\n', 'ä@appliance.test', 'a@else.test@appliance.test'):
            self.assertIsNone(rules.recipient(address, DOMAIN), address)

    def test_text_never_holds_what_postgresql_refuses(self):
        self.assertEqual(rules.text('a\0b\x1bc\ud800d'), 'a\ufffdb\ufffdc?d')
        self.assertEqual(rules.text(b'\xff\0'), '\ufffd\ufffd')
        self.assertEqual(rules.line('a\r\n Bcc: x\u2028y\x85z\t '), 'a Bcc: x y z')

    def test_subjects_are_decoded_where_they_can_be(self):
        for raw, shown in ((b'=?utf-8?b?R3LDvMOfZQ==?=', 'Gr\u00fc\u00dfe'), (b'=?nonsense?q?x?=', '=?nonsense?q?x?='),
                           (b'=?utf-8?b?!!!?=', None), (b'Gr\xc3\xbc\xc3\x9fe', None), (b'a\0b', 'a\ufffdb'),
                           (b'=?utf-8?q?a=0D=0ABcc:_x=00y?=', 'a Bcc: x\ufffdy'), (b'x' * 5000, 'x' * rules.SUBJECT_LIMIT)):
            mail = rules.parse(b'Subject: ' + raw + b'\r\n\r\n')
            got = rules.subject(mail)
            self.assertNotIn('\0', got)
            self.assertNotIn('\n', got)
            if shown is not None:
                self.assertEqual(got, shown)

    def test_bodies_of_any_charset_give_text(self):
        for charset, content, shown in (('iso-8859-1', b'\xe4', '\u00e4'), ('utf-8', b'\xe4', '\ufffd'), ('no-such', b'a\xe4', 'a\ufffd'),
                                        ('utf-8', b'a\0b', 'a\ufffdb'), ('"x\0y"', b'a', 'a'), ('rot13', b'a', 'a'), ('hex', b'zz', 'zz')):
            with self.subTest(charset):
                mail = rules.parse(f'Content-Type: text/plain; charset={charset}\r\n\r\n'.encode() + content)
                self.assertEqual(rules.body(mail), shown)

    def test_parts_within_parts_without_end_are_read_all_the_same(self):
        raw = b''.join(b'Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n' % (n, n) for n in range(3000))
        mail = rules.parse(b'Subject: deep\r\n' + raw)
        self.assertEqual((rules.subject(mail), rules.body(mail)), ('deep', ''))

    def test_references_follow_rfc_5322(self):
        def refs(**headers):
            return rules.references(rules.parse(letter(message_id='<c@x>', **headers)))
        self.assertEqual(refs(), ['<c@x>'])
        self.assertEqual(refs(References='<a@x>\r\n <b@x>'), ['<a@x>', '<b@x>', '<c@x>'])
        self.assertEqual(refs(In_Reply_To='<b@x>'), ['<b@x>', '<c@x>'])
        self.assertEqual(refs(In_Reply_To='<a@x> <b@x>'), ['<c@x>'])
        self.assertEqual(refs(References='junk <a@x> <b c> <d'), ['<a@x>', '<c@x>'])
        many = refs(References=' '.join(f'<{n}@x>' for n in range(500)))
        self.assertEqual((len(many), many[0], many[-1]), (rules.REFERENCES_LIMIT, '<0@x>', '<c@x>'))

    def test_only_the_same_mail_has_the_same_key(self):
        one = letter(message_id='<a@x>')
        self.assertEqual(rules.delivery_key(one), rules.delivery_key(b'Received: from y\r\n' + one))
        self.assertNotEqual(rules.delivery_key(one), rules.delivery_key(letter(message_id='<a@x>', body='Other.\r\n')))
        self.assertNotEqual(rules.delivery_key(one), rules.delivery_key(letter(message_id='<a@x>', sender='eve@else.test')))
        self.assertNotEqual(rules.delivery_key(one), rules.delivery_key(letter(message_id='<b@x>')))
        self.assertNotEqual(rules.delivery_key(b'a\r\n\r\nb'), rules.delivery_key(b'a\r\n\r\nc'))
