"""Shortages of memory or disk that only other tasks can end."""

import errno
import time
from typing import Final

from redis import Redis

from certrad.workers.contract.job_store import read_memory

INPUT_SHARE: Final = 7 / 8
"""The share of the job store's memory that decoded images may fill; the rest is for the jobs that engines have."""

_PAUSE_SECONDS: Final = 1.0
_CHECK_SECONDS: Final = 0.1
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT)


class ShortageError(Exception):
    """There is no room for now: RQ puts the task behind the others, at no cost in retries."""


def require_room(redis: Redis, size: int) -> None:
    """Waits a moment until the job store has room for a decoded image.

    Args:
        redis: The job store.
        size: Bytes of the image.

    Raises:
        ShortageError: It still has no room, and this worker is needed for what makes room: the ends of other jobs.
    """
    deadline = time.monotonic() + _PAUSE_SECONDS
    while not read_memory(redis).has_room(size, share=INPUT_SHARE):
        if time.monotonic() > deadline:
            raise ShortageError("the job store has no room for the image")
        time.sleep(_CHECK_SECONDS)


def raise_if_disk_is_full(error: OSError) -> None:
    """Raises, after a pause, if an error says that the disk is full; returns after any other error.

    Args:
        error: The error.

    Raises:
        ShortageError: The disk is full.
    """
    if error.errno in _FULL_DISK:
        time.sleep(_PAUSE_SECONDS)  # else the task would come back at once, and again
        raise ShortageError("the disk is full") from error
