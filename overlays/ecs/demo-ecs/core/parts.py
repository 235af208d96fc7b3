"""The parts of the status page: each looked at in a moment, all at once, none waited for long."""
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import redis
from django.core.cache import cache
from django.db import Error, connection
from django.utils import timezone

from mail import part as mail

from . import alive, ca, schema
from .models import Check, Tick

PATIENCE = 4
KEPT = 10


def seconds(since):
    return max(0, int((timezone.now() - since).total_seconds()))


def database():
    lacks = schema.missing()
    if lacks:
        return False, 'tables are missing or old: %s' % ', '.join(lacks[:3])
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('server_version'), pg_size_pretty(pg_database_size(current_database()))")
        return True, 'PostgreSQL %s, %s' % cursor.fetchone()


def queue():
    pipe = alive.client().pipeline(transaction=False)
    pipe.llen('celery').zcard('unacked_index').info('persistence')
    waiting, taken, persistence = pipe.execute()
    if persistence.get('aof_enabled') and persistence.get('aof_last_write_status') != 'ok':
        return False, 'redis cannot write its file'
    return True, '%d waiting, %d being done' % (waiting, taken)


def worker():
    age = alive.age('worker')
    if age is None or age > 30:
        return False, 'no worker has told of itself%s' % ('' if age is None else ' for %d s' % age)
    last = Tick.objects.order_by('-at').values_list('at', flat=True).first()
    if last is None:
        return False, 'a worker runs and has done nothing yet'
    if seconds(last) > 90:
        return False, 'the last regular job was done %d s ago' % seconds(last)
    return True, 'the last regular job was done %d s ago' % seconds(last)


def beat():
    age = alive.age('beat')
    if age is None or age > 30:
        return False, 'beat has not told of itself%s' % ('' if age is None else ' for %d s' % age)
    return True, 'beat ticked %d s ago, and %d times in a day' % (
        age, Tick.objects.filter(at__gt=timezone.now() - timezone.timedelta(days=1)).count())


def memory():
    mark = '%s' % time.time()
    cache.set('status-mark-%d' % threading.get_ident(), mark, 10)
    if cache.get('status-mark-%d' % threading.get_ident()) != mark:
        return False, 'what was put into memcached is not there any more'
    return True, 'memcached keeps what it is given'


def checked(name):
    """What the worker found; older than it may get, it says nothing any more."""
    check = Check.objects.filter(name=name).first()
    if check is None:
        return False, 'not looked at yet'
    if seconds(check.at) > 200:
        return False, 'not looked at for %d s; then: %s' % (seconds(check.at), check.text)
    return check.ok, '%s (%d s ago)' % (check.text, seconds(check.at))


PARTS = {
    'database': ('Database', 'PostgreSQL', database),
    'queue': ('Queue', 'redis', queue),
    'worker': ('Worker', 'celery worker', worker),
    'beat': ('Schedule', 'celery beat', beat),
    'cache': ('Cache', 'memcached', memory),
    'mail_in': ('Incoming mail', 'smtpd', mail.mail_in),
    'mail_out': ('Outgoing mail', 'postfix', mail.mail_out),
    'vault': ('Storage vault', 'GnuPG', lambda: checked('vault')),
    'signature': ('Signed PDF', 'pdfas', lambda: checked('signature')),
    'certificates': ('Client certificates', 'authority and CRL', ca.state),
}
EXPECTED = (Error, redis.RedisError, OSError)


def look_at(name):
    """(ok, text) of a part, whatever happens."""
    try:
        ok, text = PARTS[name][2]()
    except EXPECTED as error:
        first = (str(error).strip().splitlines() or [''])[0]
        ok, text = False, 'no answer: %s' % (first or type(error).__name__)
    except Exception as error:
        ok, text = False, 'no answer: %s: %s' % (type(error).__name__, error)
    finally:
        connection.close()
    return bool(ok), str(text)[:500]


def look():
    """All parts, by name: {'ok', 'text'}."""
    pool = ThreadPoolExecutor(len(PARTS))
    asked = {name: pool.submit(look_at, name) for name in PARTS}
    wait(asked.values(), timeout=PATIENCE)
    pool.shutdown(wait=False, cancel_futures=True)
    found = {}
    for name, answer in asked.items():
        ok, text = answer.result() if answer.done() and not answer.cancelled() else (False, 'no answer in %d s' % PATIENCE)
        found[name] = {'ok': ok, 'text': text}
    return found


def only_colours(found):
    return {name: {'ok': part['ok']} for name, part in found.items()}


# what this process knows: the cache itself may be what is down
own = {'at': 0.0, 'parts': None}
lock = threading.Lock()


def kept():
    """For everybody: green or red, no more, at most ten seconds old. However many ask, the parts are looked at seldom."""
    with lock:
        if own['parts'] is not None and 0 <= time.time() - own['at'] < KEPT:
            return own['parts']
        try:
            entry = cache.get('status')
        except Exception:
            entry = None
        if not (isinstance(entry, dict) and set(entry.get('parts', ())) == set(PARTS) and 0 <= time.time() - entry['at'] < KEPT):
            entry = {'at': time.time(), 'parts': only_colours(look())}
            try:
                cache.set('status', entry, KEPT)
            except Exception:
                pass
        own.update(entry)
        return own['parts']
