"""The heartbeats of the workers of this machine, for whatever watches a worker from outside."""

import socket
from datetime import UTC, datetime
from typing import Final, cast

from redis import Redis
from rq.utils import utcparse
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

_MISSED: Final = 12  # RQ forgets a worker after six
_LEAST_SECONDS: Final = 15.0


def longest_silence(heartbeat_seconds: int) -> float:
    """Returns the seconds without a heartbeat after which a worker does not work.

    Args:
        heartbeat_seconds: Seconds between two heartbeats.
    """
    return max(_LEAST_SECONDS, float(_MISSED * heartbeat_seconds))


def silence(redis: Redis, queue: str, *, host: str | None = None, now: datetime | None = None) -> float | None:
    """Returns the seconds since the last heartbeat of the workers of one host on a queue; None if it has no worker.

    Args:
        redis: The job store.
        queue: Name of the queue.
        host: Name of the host; None for this one.
        now: The time; None for that of this machine.
    """
    wanted = (socket.gethostname() if host is None else host).encode()
    keys = cast("set[bytes]", redis.smembers(WORKERS_BY_QUEUE_KEY % queue))
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "hostname", "last_heartbeat")
        answers = cast("list[list[bytes | None]]", pipe.execute())
    beats = [utcparse(beat.decode()) for hostname, beat in answers if hostname == wanted and beat is not None]
    return (((now or datetime.now(UTC)) - max(beats)).total_seconds()) if beats else None
