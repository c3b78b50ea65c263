"""A Redis client that outlives a restart of Redis."""

from typing import Final

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError
from redis.retry import Retry

_ATTEMPTS: Final = 60
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0


def connect(url: str) -> Redis:
    """Returns a client whose commands wait about two minutes for a Redis that is down or loading, and then raise.

    Redis-py's own default gives up after some 3 s, which costs a worker its job whenever Redis restarts. A command may
    then be applied twice; every write of the workers allows for that. One client belongs to one RQ worker, which
    changes its socket timeout.
    """
    backoff = ExponentialWithJitterBackoff(base=_FIRST_PAUSE_SECONDS, cap=_LONGEST_PAUSE_SECONDS)
    return Redis.from_url(
        url,
        retry=Retry(backoff, _ATTEMPTS),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError],
        health_check_interval=30,
    )
