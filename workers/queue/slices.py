"""The slices of a tuning: it makes room for certificates that wait, and goes on behind those of this round."""

import time
from collections.abc import Callable
from typing import Final, cast

from redis import Redis

from certrad.workers.contract.names import ENGINE_QUEUE, queue_key

_LOOK_SECONDS: Final = 0.25
_CERTIFICATE: Final = b"-certify"


class SliceOverError(Exception):
    """The slice of a task is over: RQ hands its job back behind the others of this round, at no cost in retries."""

    def __init__(self, tenant: str) -> None:
        """Notes whose job it is.

        Args:
            tenant: The tenant of the job.
        """
        super().__init__("certificates wait")
        self.tenant = tenant


class Slice:
    """The time that one attempt at a task has while certificates wait; it begins with the first step of work.

    At least one step is done in it, however long the step takes: else the task would never end.
    """

    def __init__(self, redis: Redis, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins with the first step.

        Args:
            redis: The job store.
            seconds: Length of the slice.
            clock: Seconds.
        """
        self._redis = redis
        self._seconds = seconds
        self._clock = clock
        self._began: float | None = None
        self._looked = 0.0

    def begin_step(self) -> bool:
        """Begins one more step of the task; the first one begins the slice.

        Returns:
            Whether the step may be done: not if the time is over and a certificate waits for an engine.
        """
        now = self._clock()
        if self._began is None:
            self._began = now
            return True
        if now - self._began < self._seconds or now - self._looked < _LOOK_SECONDS:
            return True
        self._looked = now
        return not any(entry.endswith(_CERTIFICATE) for entry in self._waiting())

    def _waiting(self) -> list[bytes]:
        return cast("list[bytes]", self._redis.lrange(queue_key(ENGINE_QUEUE), 0, -1))
