"""The message of a process that waits for Redis."""

import sys
from contextlib import suppress
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

_SECONDS = 1.0


def tell_if_redis_is_away(url: str) -> None:
    """Prints on standard error which Redis a process waits for, without its password, unless it answers at once."""
    try:
        with Redis.from_url(
            url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS, retry=Retry(NoBackoff(), 0)
        ) as redis:
            redis.ping()
    except RedisError as error:
        with suppress(OSError):  # a full disk
            sys.stderr.write(f"certrad: waiting for Redis at {address(url)} ({type(error).__name__})\n")
            sys.stderr.flush()


def address(url: str) -> str:
    """Returns host and port of a Redis URL, or its socket: never its user or password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
