from django.db import models
from django.utils import timezone


class Message(models.Model):
    """A mail, received or to be sent. Text columns hold no NUL: rules.text() took it out."""

    IN, OUT = 'in', 'out'
    RECEIVED = 'received'
    QUEUED, SENDING, SENT, FAILED, UNSURE = 'queued', 'sending', 'sent', 'failed', 'unsure'

    direction = models.CharField(max_length=3, choices=[(IN, 'incoming'), (OUT, 'outgoing')])
    state = models.CharField(max_length=8, choices=[
        (RECEIVED, 'received'), (QUEUED, 'waiting for postfix'), (SENDING, 'being handed to postfix'),
        (SENT, 'handed to postfix'), (FAILED, 'refused by postfix'), (UNSURE, 'perhaps handed to postfix')])
    key = models.CharField(max_length=64, unique=True)      # of the mail itself: who delivers it again meets this row
    message_id = models.TextField(blank=True)
    in_reply_to = models.TextField(blank=True)
    thread = models.TextField(blank=True)                   # References
    sender = models.TextField(blank=True)                   # of the envelope; empty is <>
    recipients = models.JSONField(default=list)             # of the envelope
    subject = models.TextField(blank=True)
    text = models.TextField(blank=True)                     # for people; raw has the whole
    raw = models.BinaryField()
    size = models.PositiveIntegerField(default=0)
    verdict = models.TextField(blank=True)                  # incoming: why it was not answered
    answers = models.ForeignKey('self', null=True, blank=True, on_delete=models.SET_NULL, related_name='answered_by')
    made = models.DateTimeField(default=timezone.now)
    sent = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try = models.DateTimeField(default=timezone.now)
    note = models.TextField(blank=True)                     # outgoing: what went wrong last; never an address

    class Meta:
        ordering = ['-made', '-id']
        indexes = [
            models.Index(fields=['direction', 'made'], name='mail_direction_made'),
            models.Index(fields=['state', 'next_try'], name='mail_state_next'),
        ]

    def __str__(self):
        return f'{self.direction} {self.message_id or self.key[:12]}'


class Answered(models.Model):
    """Who got an answer, and when. The row is taken before the answer is written: of two processes one has it."""

    sender = models.CharField(max_length=320, unique=True)  # rules.canonical()
    at = models.DateTimeField()

    def __str__(self):
        return f'answer at {self.at}'


class Pulse(models.Model):
    """The receiver's sign of life. Other containers cannot reach its port: it greets itself and writes down when."""

    name = models.CharField(max_length=16, primary_key=True)
    at = models.DateTimeField()
