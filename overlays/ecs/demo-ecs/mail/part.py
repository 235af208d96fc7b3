"""What the status page says of mail. Its texts hold no address and no subject: anonymous visitors may see them."""
import datetime
import smtplib

from django.conf import settings
from django.utils import timezone

from mail import room
from mail.models import Message, Pulse

PULSE_AGE = datetime.timedelta(seconds=75)
STUCK_AFTER = datetime.timedelta(minutes=15)


def received_count():
    return Message.objects.filter(direction=Message.IN).count()


def mail_in():
    """(ok, text): the receiver greeted itself a short while ago."""
    pulse = Pulse.objects.filter(name='smtpd').first()
    if pulse is None:
        return False, 'the receiver has never answered'
    age = timezone.now() - pulse.at
    if age > PULSE_AGE:
        return False, f'the receiver has not answered for {int(age.total_seconds())} s'
    if room.used() > settings.MAIL_ROOM * 0.9:
        return False, 'mails have nearly all of their room: new ones are about to be refused'
    count = received_count()
    return True, f'the receiver answers, {count} mail{"" if count == 1 else "s"} received'


def mail_out():
    """(ok, text): postfix answers EHLO, and no mail has been waiting for it for long."""
    try:
        with smtplib.SMTP(settings.SMTP_HOST, settings.SMTP_PORT, local_hostname=settings.DOMAIN, timeout=3) as client:
            code, _ = client.ehlo()
    except (OSError, smtplib.SMTPException) as error:
        return False, f'postfix does not answer ({type(error).__name__})'
    if code != 250:
        return False, f'postfix says {code} to EHLO'
    waiting = Message.objects.filter(direction=Message.OUT, state__in=[Message.QUEUED, Message.SENDING])
    stuck = waiting.filter(made__lt=timezone.now() - STUCK_AFTER).count()
    if stuck:
        return False, f'postfix answers, but {stuck} mail{" waits" if stuck == 1 else "s wait"} for longer than 15 minutes'
    count = Message.objects.filter(direction=Message.OUT, state=Message.SENT).count()
    return True, f'postfix answers, {count} mail{"" if count == 1 else "s"} sent, {waiting.count()} waiting'


def state():
    """(ok, text) of both directions."""
    parts = [mail_in(), mail_out()]
    return all(ok for ok, _ in parts), '; '.join(text for _, text in parts)


def latest(count=20):
    """Context for mail/messages.html. For verified users only: it shows who writes what."""
    # raw may be 10 MiB each
    return {'mail_messages': list(Message.objects.defer('raw', 'text').select_related(None)[:count])}
