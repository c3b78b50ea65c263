"""The audit trail of a process of the service: where it lies, and where events that are lost are counted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.names import AUDIT_LOST
from certrad.workers.contract.settings import SharedSettings


def open_trail(settings: SharedSettings, redis: Redis, *, clock: Callable[[], float] = time.time) -> AuditTrail:
    """Returns the audit trail of a data directory.

    Args:
        settings: The settings with the folder.
        redis: The job store, which counts events that are lost.
        clock: Seconds since 1970.
    """

    def count_loss() -> None:
        with suppress(RedisError):  # the loss is in the log, and in the trail once it can be written again
            redis.incr(AUDIT_LOST)

    return AuditTrail(settings.audit_dir, on_loss=count_loss, clock=clock)


@contextmanager
def recorded_run(trail: AuditTrail, process: str) -> Iterator[None]:
    """Records that a process of the service begins and ends.

    Args:
        trail: The trail.
        process: Name of the process.
    """
    trail.record(AuditEvent(name="application_start", process=process))
    try:
        yield
    finally:
        trail.record(AuditEvent(name="application_stop", process=process))


def count_lost(redis: Redis) -> int:
    """Returns how many events could not be written since the job store was emptied last."""
    return int(cast("bytes | None", redis.get(AUDIT_LOST)) or 0)
