# tasks find their queue by it
from .celery import app as celery_app  # noqa: F401
