from django.db import models


class Job(models.Model):
    """Something that somebody had queued."""
    QUEUED, DONE, FAILED = 'queued', 'done', 'failed'
    state = models.CharField(max_length=8, default=QUEUED)
    text = models.CharField(max_length=200, blank=True)
    queued = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        ordering = ['-id']


class Tick(models.Model):
    """Beat had it sent, the worker wrote it down."""
    at = models.DateTimeField(auto_now_add=True, db_index=True)


class Check(models.Model):
    """What the worker found the last time, of a part that is too dear to look at for each visitor."""
    name = models.CharField(max_length=20, primary_key=True)
    ok = models.BooleanField()
    text = models.CharField(max_length=500)
    at = models.DateTimeField(auto_now=True)
