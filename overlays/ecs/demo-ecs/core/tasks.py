"""What the worker does."""
import logging
import os
import time

from celery import shared_task
from django.conf import settings
from django.utils import timezone
from mail import room

from . import ca, pdf, vault
from .models import Check, Job, Tick

log = logging.getLogger(__name__)


@shared_task
def tick():
    Tick.objects.create()


@shared_task
def job(number):
    """Its row tells that it ran: once, although it may be given out twice."""
    Job.objects.filter(id=number, state=Job.QUEUED).update(
        state=Job.DONE, finished=timezone.now(), text='by process %d' % os.getpid())


def keep(name, look, trouble):
    """Writes down how NAME is."""
    try:
        ok, text = True, look()
    except trouble as error:
        ok, text = False, str(error)
    except Exception as error:  # the page says so, whatever it was
        log.exception('the check of %s failed', name)
        ok, text = False, 'the check itself failed: %s' % type(error).__name__
    Check.objects.update_or_create(name=name, defaults={'ok': ok, 'text': text[:500]})


def look_at_vault():
    return vault.round_trip('status-check')


@shared_task
def checks():
    """What is too dear to be looked at for each visitor, or not for everybody to start."""
    keep('vault', look_at_vault, vault.Trouble)
    keep('signature', pdf.round_trip, pdf.Trouble)


@shared_task
def hourly():
    """The revocation list is made anew before its end; what nobody needs any more goes."""
    try:
        ca.renew()
    except (ca.Trouble, OSError, ValueError) as error:
        log.error('the revocation list could not be renewed: %s', error)
    day = timezone.now() - timezone.timedelta(days=1)
    Tick.objects.filter(at__lt=day).delete()
    Job.objects.filter(queued__lt=day - timezone.timedelta(days=30)).delete()
    # those too that were left half written
    for file in settings.CACHE_FOLDER.glob('signed/*'):
        if file.stat().st_mtime < time.time() - 3600:
            file.unlink(missing_ok=True)
    room.clear()
