"""What is believed of a request. nginx alone knows the secret that makes its headers count; who comes another way, from another
container say, is anonymous whatever he claims."""
import secrets

from django.conf import settings
from django.utils.crypto import constant_time_compare

TRUSTED = ('HTTP_X_FORWARDED_', 'HTTP_X_REAL_IP', 'HTTP_X_SSL_CLIENT_')


class Frontend:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        given = request.META.pop('HTTP_X_APPLIANCE_SECRET', '')
        believed = bool(settings.PROXY_SECRET) and constant_time_compare(given, settings.PROXY_SECRET)
        if not believed:
            for name in [name for name in request.META if name.startswith(TRUSTED)]:
                del request.META[name]
        if request.META.get('HTTP_X_FORWARDED_PROTO') == 'https':
            request.META['wsgi.url_scheme'] = request.environ['wsgi.url_scheme'] = 'https'
        request.serial = None
        if request.META.get('HTTP_X_SSL_CLIENT_VERIFY') == 'SUCCESS':
            request.serial = request.META.get('HTTP_X_SSL_CLIENT_SERIAL') or None
        request.nonce = secrets.token_urlsafe(16)
        response = self.get_response(request)
        response.setdefault('Cache-Control', 'no-store')
        response.setdefault('Content-Security-Policy', "default-src 'none'; style-src 'nonce-%s'; img-src data:; form-action 'self'; "
                            "base-uri 'none'; frame-ancestors 'none'" % request.nonce)
        if not response.streaming:
            response.setdefault('Content-Length', str(len(response.content)))
        return response


def context(request):
    return {'serial': getattr(request, 'serial', None), 'nonce': getattr(request, 'nonce', ''), 'domain': settings.DOMAIN}
