"""A Redis client that outlives a restart of Redis, and the time in which Redis takes no writes."""

import math
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ResponseError, TimeoutError
from redis.retry import Retry

from certrad.workers.contract.redis_access import redis_options
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.contract.waiting import refuses_writes

_ATTEMPTS: Final = 60
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0
_PAUSES_THAT_GROW: Final = 10  # a power of the count beyond would overflow

_Answer = TypeVar("_Answer")
_log = structlog.get_logger()


class PatientRetry(Retry):
    """Sends a command again until Redis takes it.

    A connection that is lost is tried again for about two minutes. A Redis that answers, but takes no writes for now,
    is waited for until it does or this process is to stop: it lives, and there is nothing else to do with the command.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        """Prepares to wait.

        Args:
            is_stopping: Returns whether this process is to stop: then a refusal is raised at once.
        """
        super().__init__(ExponentialWithJitterBackoff(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS), _ATTEMPTS)
        self._is_stopping = is_stopping
        self._troubled_at = -math.inf

    def __deepcopy__(self, _: object) -> "PatientRetry":
        """Returns itself: all connections of a client share it, and so what it knows about Redis."""
        return self

    @property
    def quiet_seconds(self) -> float:
        """Returns the seconds since Redis was last away or took no writes; infinity if it never was."""
        return time.monotonic() - self._troubled_at

    def call_with_retry(
        self,
        do: Callable[[], _Answer],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _Answer:
        """Calls until Redis takes it, and returns the answer; see `redis.retry.Retry` for the arguments."""

        def failed(error: Exception, *count: int) -> None:
            self._troubled_at = time.monotonic()
            fail(error, *count)

        def outlast() -> _Answer:
            return self._outlast(do, lambda error: failed(error, *(1,) * with_failure_count))

        return super().call_with_retry(outlast, failed, is_retryable, with_failure_count)

    def _outlast(self, do: Callable[[], _Answer], fail: Callable[[Exception], None]) -> _Answer:
        refusals = 0
        while True:
            try:
                return do()
            except (ResponseError, BusyLoadingError) as error:
                if not refuses_writes(error) or self._is_stopping():
                    raise
                if not refusals:
                    _log.warning("redis takes no writes", error=type(error).__name__)
                refusals += 1
                time.sleep(self._backoff.compute(min(refusals, _PAUSES_THAT_GROW)))
                fail(error)


def connect(settings: SharedSettings, *, is_stopping: Callable[[], bool] = lambda: False) -> Redis:
    """Returns a client whose commands wait for a Redis that is away, loading, full or read-only.

    Redis-py's own default gives up after some 3 s, which costs a worker its job whenever Redis restarts, and raises at
    once when Redis is full. A command may then be applied twice; every write of the workers allows for that. One client
    belongs to one RQ worker, which changes its socket timeout.

    Args:
        settings: Address of Redis.
        is_stopping: See `PatientRetry`.
    """
    return Redis.from_url(
        **redis_options(settings),
        retry=PatientRetry(is_stopping),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError],
        health_check_interval=30,
    )


def quiet_seconds(redis: Redis) -> float:
    """Returns the seconds since a client of `connect` last found Redis away or without room; infinity for another."""
    retry = redis.get_retry()
    return retry.quiet_seconds if isinstance(retry, PatientRetry) else math.inf
