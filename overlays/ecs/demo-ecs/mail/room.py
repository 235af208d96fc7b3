"""How much mail is kept: each for MAIL_DAYS, and all together in MAIL_ROOM. Whoever can write to us could fill the disk else."""
import datetime
import time

from django.conf import settings
from django.db.models import Count, Sum
from django.utils import timezone

from mail import send
from mail.models import Answered, Message

ROW = 8192              # what a mail takes beside itself: its text, its row, its indexes
LOOK = 20               # seconds between two looks at all of them
AT_ONCE = 500


def used():
    """Bytes, about."""
    found = Message.objects.order_by().aggregate(size=Sum('size'), rows=Count('id'))
    return (found['size'] or 0) + found['rows'] * ROW


class Room:
    """Room for mails that come in; looks at the table now and then, and counts what it gave in between."""

    def __init__(self, clock=time.monotonic):
        self.clock, self.at, self.taken = clock, None, 0

    def take(self, size):
        """False when there is none for SIZE bytes more."""
        now = self.clock()
        if self.at is None or now - self.at > LOOK:
            self.at, self.taken = now, used()
        if self.taken + size + ROW > settings.MAIL_ROOM:
            return False
        self.taken += size + ROW
        return True


def clear(now=None, patience=20):
    """What is older than MAIL_DAYS goes, but for what is still to be sent. Ends after PATIENCE seconds: the rest has time."""
    now = now or timezone.now()
    ends = time.monotonic() + patience
    Answered.objects.filter(at__lt=now - 2 * send.ONE_ANSWER_IN).delete()
    old = Message.objects.filter(made__lt=now - datetime.timedelta(days=settings.MAIL_DAYS)).exclude(
        state__in=[Message.QUEUED, Message.SENDING]).order_by('id').values_list('pk', flat=True)
    while time.monotonic() < ends:
        some = list(old[:AT_ONCE])
        if not some:
            break
        # not loaded to be deleted: a mail may have 10 MiB
        Message.objects.filter(pk__in=some).defer('raw', 'text').delete()
