"""What uwsgi runs."""
import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'ecs.settings')
application = get_wsgi_application()

from core import ca  # noqa: E402: it needs the settings

try:
    ca.make()
except (ca.Trouble, OSError, ValueError) as error:  # the page is there all the same, and says so
    print('the authority of client certificates could not be made, or its list renewed: %s' % error, file=sys.stderr)
