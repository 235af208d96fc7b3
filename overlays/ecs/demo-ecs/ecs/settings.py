"""What the application is told: places and secrets by the environment, the rest by ECS_SETTINGS, Python text that is executed
here and so may change every setting."""
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

env = os.environ.get


def database(url):
    """Django's settings of a postgresql:// URL; `?host=/run/postgresql` names a socket's folder."""
    part = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(part.query).items()}
    return {
        'ENGINE': 'django.db.backends.postgresql',
        'NAME': unquote(part.path.lstrip('/')) or 'ecs',
        'USER': unquote(part.username or ''),
        'PASSWORD': unquote(part.password or ''),
        'HOST': part.hostname or query.get('host', ''),
        'PORT': part.port or query.get('port', ''),
        'CONN_MAX_AGE': 0,  # a database that was away is asked anew by the next request
        'OPTIONS': {'connect_timeout': 3, 'options': '-c statement_timeout=20000 -c lock_timeout=10000'},
    }


def address(url, port):
    part = urlsplit(url)
    return part.hostname or '127.0.0.1', part.port or port


class Json:
    """What lies in the cache is JSON: Python's own form would be executed by whoever reads it."""

    def serialize(self, key, value):
        import json
        return json.dumps(value).encode(), 0

    def deserialize(self, key, value, flags):
        import json
        return json.loads(value)


DOMAIN = env('APPLIANCE_DOMAIN') or 'localhost'
PROXY_SECRET = env('APPLIANCE_PROXY_SECRET', '')
PDFAS_URL = env('PDFAS_URL') or 'http://pdfas:8080/pdf-as-web/'
PDFAS_SECRET = env('PDFAS_SECRET', '')
CA_FOLDER = Path(env('CA_FOLDER') or '/app/ecs-ca')
GPG_FOLDER = Path(env('GPG_FOLDER') or '/app/ecs-gpg')
VAULT_FOLDER = Path(env('VAULT_FOLDER') or '/app/ecs-storage-vault')
CACHE_FOLDER = Path(env('CACHE_FOLDER') or '/app/ecs-cache')
RUN_FOLDER = Path(env('ECS_RUN') or '/tmp')  # of this container alone: the program `run` finds it

SMTP_HOST, SMTP_PORT = address(env('SMTP_URL') or 'smtp://172.17.0.1:25', 25)
MAIL_SIZE_LIMIT = 10 * 1024 * 1024  # a mail is held several times while it is stored, and the container has 256 MiB
MAIL_RATE = 300  # a minute, of all senders
MAIL_ANSWERS = 200  # an hour, to all senders: whoever forges one has us write to a stranger
MAIL_DAYS = 30
MAIL_ROOM = 1024 * 1024 * 1024  # of all mails; more is refused for now, and the senders keep it

DATABASES = {'default': database(env('DATABASE_URL') or 'postgresql:///ecs')}
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'

MEMCACHED = address(env('MEMCACHED_URL') or 'memcached://memcached:11211', 11211)
CACHES = {'default': {
    'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache',
    'LOCATION': '%s:%d' % MEMCACHED,
    # one that was away is tried again soon, and nobody waits for it
    'OPTIONS': {'serde': Json(), 'connect_timeout': 1, 'timeout': 1, 'retry_attempts': 0, 'dead_timeout': 2},
}}

REDIS_URL = env('REDIS_URL') or 'redis://redis:6379/0'
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {
    'visibility_timeout': 90,  # longer than the longest job: what was taken and not finished by then is given out again
    'socket_connect_timeout': 3,
    'socket_keepalive': True,
}
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY = True
CELERY_TASK_SERIALIZER = 'json'
CELERY_RESULT_SERIALIZER = 'json'
CELERY_ACCEPT_CONTENT = ['json']
CELERY_TASK_IGNORE_RESULT = True  # results are rows of the database
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 50
CELERY_TASK_TIME_LIMIT = 60
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONCURRENCY = 2
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = 'UTC'
# what could not be done while nobody worked is not made up for
CELERY_BEAT_SCHEDULE = {
    'tick': {'task': 'core.tasks.tick', 'schedule': 20, 'options': {'expires': 20}},
    'checks': {'task': 'core.tasks.checks', 'schedule': 60, 'options': {'expires': 55}},
    'hourly': {'task': 'core.tasks.hourly', 'schedule': 3600, 'options': {'expires': 3000}},
}

INSTALLED_APPS = ['core', 'mail', 'django.contrib.messages']
MIDDLEWARE = [
    'core.frontend.Frontend',
    'django.middleware.security.SecurityMiddleware',
    'django.middleware.csrf.CsrfViewMiddleware',
    'django.contrib.messages.middleware.MessageMiddleware',
    'django.middleware.clickjacking.XFrameOptionsMiddleware',
]
MESSAGE_STORAGE = 'django.contrib.messages.storage.cookie.CookieStorage'
ROOT_URLCONF = 'ecs.urls'
WSGI_APPLICATION = 'ecs.wsgi.application'
TEMPLATES = [{
    'BACKEND': 'django.template.backends.django.DjangoTemplates',
    'APP_DIRS': True,
    'OPTIONS': {'context_processors': [
        'django.template.context_processors.request',
        'django.contrib.messages.context_processors.messages',
        'core.frontend.context',
    ]},
}]
USE_TZ = True
TIME_ZONE = 'UTC'
USE_I18N = False
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = 'core.views.csrf_failure'
SECURE_REFERRER_POLICY = 'same-origin'
X_FRAME_OPTIONS = 'DENY'
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
PDF_SIZE_LIMIT = 30 * 1024 * 1024
# nginx sends HSTS and redirects to https
SILENCED_SYSTEM_CHECKS = ['security.W004', 'security.W008']
LOGGING = {
    'version': 1,
    'disable_existing_loggers': False,
    'formatters': {'plain': {'format': '%(levelname)s %(name)s: %(message)s'}},
    'handlers': {'stderr': {'class': 'logging.StreamHandler', 'formatter': 'plain'}},
    'root': {'handlers': ['stderr'], 'level': 'INFO'},
    'loggers': {'django': {'handlers': [], 'propagate': True, 'level': 'WARNING'}},
}
# good for one start of one role: what has to outlive that comes with ECS_SETTINGS
SECRET_KEY = secrets.token_urlsafe(48)

try:
    exec(compile(env('ECS_SETTINGS', ''), 'ECS_SETTINGS', 'exec'))
except BaseException as error:  # SystemExit too: a setting ends no program without a word
    # the line itself may hold a secret
    line = getattr(error, 'lineno', None)
    trace = error.__traceback__
    while line is None and trace is not None:
        if trace.tb_frame.f_code.co_filename == 'ECS_SETTINGS':
            line = trace.tb_lineno
        trace = trace.tb_next
    what = error.msg if isinstance(error, SyntaxError) else ''
    print('ecs.settings of the environment cannot be used: line %s: %s%s' % (
        line or '?', type(error).__name__, what and ': ' + what), file=sys.stderr)
    sys.exit(1)

if 'ALLOWED_HOSTS' not in globals():
    ALLOWED_HOSTS = [DOMAIN]
if 'DEFAULT_FROM_EMAIL' not in globals():
    DEFAULT_FROM_EMAIL = 'ecs@%s' % DOMAIN
