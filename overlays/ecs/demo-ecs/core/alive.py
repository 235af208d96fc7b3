"""Worker and beat tell that they go on."""
import logging
import time

import redis
from django.conf import settings

log = logging.getLogger(__name__)
clients = {}
KEY = 'ecs:alive:%s'


def client():
    """Of redis, with short patience."""
    if 'redis' not in clients:
        clients['redis'] = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1)
    return clients['redis']


def tell(role):
    (settings.RUN_FOLDER / 'alive').touch()
    try:
        client().set(KEY % role, int(time.time()), ex=300)
    except redis.RedisError:
        pass  # the queue's own tile is red then


def age(role):
    """Seconds since ROLE told, or None when that is minutes ago; redis.RedisError when redis does not answer."""
    at = client().get(KEY % role)
    return None if at is None else max(0, int(time.time()) - int(at))


def give_back(app):
    """There is one worker: what somebody has taken and not finished when it starts was in the hands of one that is dead. So it
    need not lie there till its time is over."""
    try:
        with app.connection_for_write() as connection:
            channel = connection.default_channel
            taken = channel.client.zrange(channel.unacked_index_key, 0, -1)
            for tag in taken:
                channel.qos.restore_by_tag(tag, channel.client)
        if taken:
            log.info('%d jobs that were not finished are queued again', len(taken))
    except Exception as error:  # redis is away: the worker itself waits for it
        log.warning('jobs that were not finished wait for their time: %s', error)
