"""The pages."""
import functools
import uuid

import redis
from django.conf import settings
from django.contrib import messages
from django.db import Error, transaction
from django.http import FileResponse, Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST, require_safe
from kombu.exceptions import OperationalError
from mail import part as mail_part
from mail import send

from . import ca, files, parts, pdf, schema, tasks, vault
from .models import Job


def verified(view):
    """For who comes with a client certificate; the others are told so."""
    @functools.wraps(view)
    def inner(request, *args, **kwargs):
        if request.serial is None:
            return refusal(request, 403, 'A client certificate is needed', 'This page is for those who come with a certificate of '
                           'this appliance. Install yours in the browser, then come again.')
        if request.method == 'POST':
            request.get_host()  # refuses one that is none of ours
        return view(request, *args, **kwargs)
    return inner


def refusal(request, status, title, text):
    return render(request, 'refusal.html', {'title': title, 'text': text}, status=status)


def csrf_failure(request, reason=''):
    return refusal(request, 403, 'Please try again', 'The form was not of this page, or it was too old.')


def not_found(request, exception=None):
    return refusal(request, 404, 'There is no such page', 'The status page shows what there is.')


def broken(request):
    return HttpResponse('An error, which is in the log.\n', status=500, content_type='text/plain')


ready = False


@require_safe
def health(request):
    """200 when this process can serve: it has once seen its tables. What goes wrong later is on the status page."""
    global ready
    if not ready:
        try:
            ready = not schema.missing()
            why = 'The tables are not there yet, or old: waiting for the role migrate.\n'
        except Error:
            why = 'The database does not answer.\n'
        if not ready:
            return HttpResponse(why, status=503, content_type='text/plain')
    return HttpResponse('ok\n', content_type='text/plain')


def found_for(request):
    return parts.kept() if request.serial is None else parts.look()


@require_safe
def status_json(request):
    found = found_for(request)
    return JsonResponse({'all': all(part['ok'] for part in found.values()), 'parts': found})


def notice():
    """What the appliance says of this application: that another version was given up, or could not be fetched. '' when nothing."""
    try:
        return (settings.CACHE_FOLDER / 'notice').read_text(errors='replace')[:500].strip()
    except OSError:
        return ''


@require_safe
def status(request):
    found = found_for(request)
    tiles = [{'name': name, 'title': parts.PARTS[name][0], 'by': parts.PARTS[name][1], **found[name]} for name in parts.PARTS]
    bad = [tile['title'] for tile in tiles if not tile['ok']]
    context = {'tiles': tiles, 'bad': bad, 'now': timezone.now()}
    if request.serial is not None:
        context['notice'] = notice()
        try:
            with transaction.atomic():
                context['jobs'] = list(Job.objects.all()[:5])
                context.update(mail_part.latest(8))
                context['mails'] = True
        except Error:
            pass  # the tile of the database says why
    return render(request, 'status.html', context)


@require_safe
def certificate(request):
    return render(request, 'certificate.html', {})


@verified
@require_POST
def do(request, what):
    deed = DEEDS.get(what)
    if deed is None:
        raise Http404
    try:
        messages.success(request, deed(request))
    except TROUBLE as trouble:
        messages.error(request, (str(trouble).strip().splitlines() or [type(trouble).__name__])[0])
    return redirect('status')


def do_job(request):
    job = Job.objects.create()
    try:
        tasks.job.apply_async([job.id], retry=False)
    except (OperationalError, redis.RedisError):
        Job.objects.filter(id=job.id).update(state=Job.FAILED, finished=timezone.now(), text='the queue did not take it')
        raise pdf.Trouble('The queue did not take the job.') from None
    return 'Job %d is queued.' % job.id


def do_vault(request):
    return 'File %s: %s.' % (name := uuid.uuid4(), vault.round_trip(str(name)))


def do_mail(request):
    row = send.send_test(request.POST.get('to', '').strip())
    if row.state != row.SENT:
        raise pdf.Trouble('The mail is not sent: %s.' % (row.note or row.get_state_display()))
    return 'The mail is with postfix.'


def do_checks(request):
    try:
        tasks.checks.apply_async(retry=False, expires=55)
    except (OperationalError, redis.RedisError):
        raise pdf.Trouble('The queue did not take it.') from None
    return 'Vault and signature are looked at again.'


DEEDS = {'job': do_job, 'vault': do_vault, 'mail': do_mail, 'checks': do_checks}
TROUBLE = (pdf.Trouble, vault.Trouble, ca.Trouble, send.BadAddress, Error, OSError)


@verified
def pdf_view(request):
    context = {}
    if request.method == 'POST':
        given = request.FILES.get('pdf-file')
        try:
            if given is not None and given.size > settings.PDF_SIZE_LIMIT:
                raise pdf.Trouble('A PDF may have 30 MB.')
            original = given.read() if given is not None else pdf.sample()
            signed = pdf.sign(original)
            context['signer'] = pdf.verify(signed, original)
            name = context['name'] = uuid.uuid4()
            folder = settings.CACHE_FOLDER / 'signed'
            folder.mkdir(mode=0o700, exist_ok=True)
            files.write(folder / ('%s.pdf' % name), signed)
            context['size'] = len(signed)
        except (pdf.Trouble, OSError) as trouble:
            context['trouble'] = str(trouble)
    return render(request, 'pdf.html', context, status=502 if 'trouble' in context else 200)



@verified
@require_GET
def signed_pdf(request, name):
    try:
        file = open(settings.CACHE_FOLDER / 'signed' / ('%s.pdf' % name), 'rb')
    except FileNotFoundError:
        raise Http404 from None
    return FileResponse(file, as_attachment=True, filename='signed.pdf', content_type='application/pdf')
