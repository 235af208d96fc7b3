"""The queue: its worker and beat. Both tell that they go on: by a file for the container's health, by a key in redis for the
status page."""
import os

from celery import Celery, bootsteps, signals
from celery.beat import PersistentScheduler

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'ecs.settings')
app = Celery('ecs')
app.config_from_object('django.conf:settings', namespace='CELERY')
app.autodiscover_tasks(['core'])


class Alive(bootsteps.StartStopStep):
    """By the loop that takes jobs: one that hangs tells nothing. A step of the consumer, which starts anew when redis was away: all
    timers are cleared then."""
    requires = {'celery.worker.consumer.tasks:Tasks'}

    def start(self, consumer):
        from core import alive
        self.timer = consumer.timer.call_repeatedly(5, alive.tell, ('worker',))

    def stop(self, consumer):
        self.timer.cancel()


app.steps['consumer'].add(Alive)


class Scheduler(PersistentScheduler):
    def tick(self, *args, **kwargs):
        from core import alive
        alive.tell('beat')
        return min(super().tick(*args, **kwargs), 5)


@signals.worker_init.connect
def worker_starts(**kwargs):
    from core import alive, schema
    schema.wait('worker')
    alive.give_back(app)


@signals.worker_ready.connect
def worker_ready(**kwargs):
    from core import alive, tasks
    alive.tell('worker')
    tasks.checks.apply_async(expires=55)


@signals.beat_init.connect
def beat_starts(**kwargs):
    from core import schema
    schema.wait('beat')
