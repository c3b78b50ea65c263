"""Waiting for Redis: which answers ask for it, and the message of a process that does."""

import re
import sys
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from certrad.workers.contract.redis_access import redis_options
from certrad.workers.contract.settings import SharedSettings

_SECONDS: Final = 1.0
_REFUSALS: Final = (OutOfMemoryError, ReadOnlyError, MasterDownError, BusyLoadingError)
_REFUSAL: Final = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS|UNBLOCKED) ")  # redis-py has no classes


def refuses_writes(error: BaseException) -> bool:
    """Returns whether an error says that Redis lives and takes no writes for now.

    It is full, its disk is full, it has lost its master or its replicas, or it loads its data. Nothing of the command
    was done.
    """
    if isinstance(error, _REFUSALS):
        return True
    return isinstance(error, ResponseError) and _REFUSAL.search(str(error)) is not None


def tell_if_redis_is_away(settings: SharedSettings) -> None:
    """Prints on standard error which Redis a process waits for, without its password, unless it answers at once.

    Args:
        settings: Address of Redis.
    """
    try:
        with Redis.from_url(
            **redis_options(settings),
            socket_connect_timeout=_SECONDS,
            socket_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as redis:
            redis.ping()
    except RedisError as error:
        with suppress(OSError):  # a full disk
            sys.stderr.write(f"certrad: waiting for Redis at {address(settings.redis_url)} ({type(error).__name__})\n")
            sys.stderr.flush()


def address(url: str) -> str:
    """Returns host and port of a Redis URL, or its socket: never its user or password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
