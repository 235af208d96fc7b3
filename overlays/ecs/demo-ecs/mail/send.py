"""Outgoing mail: a row first, then handed to postfix by SMTP.

A row goes queued -> sending -> sent. `sending` is committed before the first byte leaves, so no second process takes the row.
postfix refused for now, or was not there: the row waits for the next flush(), by the receiver's loop or by a task. When nobody
knows whether postfix has taken the mail (the connection died after the last dot, or this process did), the row becomes `unsure`
and is not sent again: this errs on the side of a mail too few, as a mail that is sent twice starts loops and a lost one does not.
"""
import datetime
import hashlib
import logging
import smtplib
import uuid
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from mail import rules
from mail.models import Answered, Message

log = logging.getLogger(__name__)

ONE_ANSWER_IN = datetime.timedelta(hours=24)
GIVE_UP_AFTER = datetime.timedelta(days=2)
# longer than one try may take: a row that is `sending` for so long belongs to nobody any more
ABANDONED_AFTER = datetime.timedelta(minutes=15)
RETRY = datetime.timedelta(seconds=60)
TIMEOUT = 20

# CRLF, folded below 78 characters, and encoded words: no header of ours ever is longer or 8bit
_POLICY = policy.SMTP.clone(max_line_length=78)

ANSWER = """Your mail arrived.

This is an automatic answer of the appliance for {domain}. It is sent at most once a day, and nobody reads answers to it.
"""


class BadAddress(ValueError):
    """Nobody can be written to at this address."""


def _write(mail_from, to, subject, text, auto, parent=None):
    """(bytes, columns of the row). Every value is one line and addresses are checked: nothing can add a header."""
    mail = EmailMessage(policy=_POLICY)
    for name, address in (('From', mail_from), ('To', to)):
        parts = rules.split(address)
        if parts is None:
            raise BadAddress(f'{name} is no address')
        mail[name] = Address(username=parts[0], domain=parts[1])
    subject = rules.line(subject, rules.SUBJECT_LIMIT)
    message_id = f'<{uuid.uuid4()}@{settings.DOMAIN}>'
    mail['Subject'] = subject
    mail['Date'] = format_datetime(timezone.now().astimezone(datetime.timezone.utc))
    mail['Message-Id'] = message_id
    mail['Auto-Submitted'] = auto
    mail.set_content(rules.text(text), cte='quoted-printable')
    # Written by hand, an id a line: the library would turn a long id into an encoded word, which no thread is found by.
    head, ids, reply_to = '', [], ''
    if parent is not None:
        reply_to = next(iter(rules.message_ids(parent.message_id)), '')
        ids = [one for one in rules.message_ids(parent.thread) if one != reply_to]
        if reply_to:
            head += f'In-Reply-To: {reply_to}\r\n'
            ids.append(reply_to)
        if ids:
            head += 'References: ' + '\r\n '.join(ids) + '\r\n'
    raw = head.encode('ascii') + mail.as_bytes()
    return raw, dict(message_id=message_id, in_reply_to=reply_to, thread=' '.join(ids), subject=subject)


def _store(written, sender, to, text, parent=None):
    raw, columns = written
    return Message.objects.create(
        direction=Message.OUT, state=Message.QUEUED, key=hashlib.sha256(raw).hexdigest(), sender=sender, recipients=[to],
        text=rules.text(text, rules.TEXT_LIMIT), raw=raw, size=len(raw), answers=parent, **columns)


def originate(to, subject, text, parent=None):
    """Write a mail of the application's own, which answers the received `parent` if there is one. It waits for flush()."""
    mail = _write(settings.DEFAULT_FROM_EMAIL, to, subject, text, 'auto-generated', parent)
    return _store(mail, settings.DEFAULT_FROM_EMAIL, to, text, parent)


def take_turn(sender, now=None):
    """True for one caller in 24 hours and sender. Call it in the transaction that writes the answer: both stay, or none."""
    now = now or timezone.now()
    sender = rules.canonical(sender)[:320]
    # the row's lock makes a second one wait, and then see a time that is not old any more
    if Answered.objects.filter(sender=sender, at__lte=now - ONE_ANSWER_IN).update(at=now):
        return True
    try:
        with transaction.atomic():
            Answered.objects.create(sender=sender, at=now)
        return True
    except IntegrityError:
        return False


def prepare_answer(message, mail=None):
    """Write the answer to a received message, if there may be one, and return it. Sends nothing; runs in a transaction."""
    mail = mail or rules.parse(bytes(message.raw))
    verdict = rules.why_no_answer(mail, message.sender, message.recipients, settings.DOMAIN)
    answer_row = None
    with transaction.atomic():
        if not verdict and Message.objects.filter(
                direction=Message.OUT, sender='', made__gt=timezone.now() - datetime.timedelta(hours=1)).count() >= settings.MAIL_ANSWERS:
            verdict = 'too many answers in this hour'
        if not verdict and not take_turn(message.sender):
            verdict = 'had an answer in the last 24 hours'
        if not verdict:
            me = rules.personal(mail, message.recipients)
            text = ANSWER.format(domain=settings.DOMAIN)
            reply = _write(me, message.sender, f'Auto: {message.subject}'.strip(), text, 'auto-replied', message)
            # nobody answers a mail that came from <>
            answer_row = _store(reply, '', message.sender, text, message)
        Message.objects.filter(pk=message.pk).update(verdict=verdict or 'answered')
    return answer_row


def answer(message):
    """Answer a received message by the rules, and hand the answer to postfix. The answer's row, or None."""
    row = prepare_answer(message)
    if row is not None:
        hand_in(row.pk)
        row.refresh_from_db()
    return row


def send_test(to):
    """Send a short mail to `to` (BadAddress if that is none). Its row, whose state says what became of it."""
    row = originate(to, f'Test of {settings.DOMAIN}', f'This mail was sent by the status page of {settings.DOMAIN}.\n')
    hand_in(row.pk)
    row.refresh_from_db()
    return row


def _claim(pk):
    """Take the row for this process, committed: False when another has it, or when it is not to be sent (now)."""
    with transaction.atomic():
        return bool(Message.objects.filter(pk=pk, direction=Message.OUT, state=Message.QUEUED)
                    .update(state=Message.SENDING, next_try=timezone.now()))


def hand_in(pk):
    """Hand one queued row to postfix; what comes of it is in its state. Never within a transaction: the claim must be seen."""
    if not _claim(pk):
        return
    row = Message.objects.get(pk=pk)
    state, note = _smtp(row.sender, row.recipients, bytes(row.raw))
    now = timezone.now()
    if state == Message.QUEUED and row.made < now - GIVE_UP_AFTER:
        state, note = Message.FAILED, f'given up: {note}'
    delay = min(RETRY * 2 ** min(row.attempts, 6), datetime.timedelta(hours=1))
    # only what is still ours: a row that was given up as abandoned in the meantime stays so
    Message.objects.filter(pk=pk, state=Message.SENDING).update(
        state=state, note=note, attempts=row.attempts + 1, next_try=now + delay, sent=now if state == Message.SENT else None)
    if state != Message.SENT:
        log.warning('outgoing mail %d: %s (%s)', pk, state, note)


def _smtp(sender, recipients, raw):
    """(new state, note). Only an answer of postfix to the last dot, or none at all, tells anything about a mail that was sent."""
    try:
        client = smtplib.SMTP(settings.SMTP_HOST, settings.SMTP_PORT, local_hostname=settings.DOMAIN, timeout=TIMEOUT)
    except (OSError, smtplib.SMTPException) as error:
        return Message.QUEUED, f'postfix does not answer ({type(error).__name__})'
    try:
        try:
            client.ehlo_or_helo_if_needed()
            replies = [client.mail(sender)]
            replies += [client.rcpt(one) for one in recipients]
            bad = next((code for code, _ in replies if code // 100 != 2), None)
            if bad is None:
                code, _ = client.docmd('DATA')
                bad = None if code == 354 else code
        except (OSError, smtplib.SMTPException) as error:
            return Message.QUEUED, f'postfix went away ({type(error).__name__})'
        if bad is not None:
            return (Message.FAILED if bad // 100 == 5 else Message.QUEUED), f'postfix said {bad}'
        # From here on it may have the mail, whatever happens to this connection.
        try:
            client.send(_dots(raw))
            code, _ = client.getreply()
        except (OSError, smtplib.SMTPException) as error:
            return Message.UNSURE, f'postfix went away in the mail ({type(error).__name__})'
        if code // 100 == 2:
            return Message.SENT, ''
        return (Message.FAILED if code // 100 == 5 else Message.QUEUED), f'postfix said {code}'
    finally:
        client.close()


def _dots(raw):
    """The mail as SMTP wants it: CRLF only, lines that begin with a dot doubled, the lone dot at its end."""
    lines = raw.replace(b'\r\n', b'\n').replace(b'\r', b'\n').rstrip(b'\n').split(b'\n')
    return b''.join((b'.' + one if one.startswith(b'.') else one) + b'\r\n' for one in lines) + b'.\r\n'


def flush(limit=20):
    """Hand in what waits and is due. Any number of processes may do so at once."""
    now = timezone.now()
    Message.objects.filter(direction=Message.OUT, state=Message.SENDING, next_try__lt=now - ABANDONED_AFTER).update(
        state=Message.UNSURE, note='its sender died')
    due = Message.objects.filter(direction=Message.OUT, state=Message.QUEUED, next_try__lte=now).order_by('next_try', 'id')
    for pk in list(due.values_list('pk', flat=True)[:limit]):
        hand_in(pk)
