"""Why a task stops between two blocks of samples: this process is to stop, or the deadline of its job has passed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from certrad.models.errors import Rejected

_requested: Final = threading.Event()
_deadline: Final[ContextVar[float | None]] = ContextVar("deadline", default=None)

DEADLINE_PASSED: Final = "the job had no result when its deadline passed"


class StopRequested(Exception):
    """The process is to stop: the task ends here, and RQ hands its job to another worker at no cost in retries."""


def request() -> None:
    """Requests that this process stops; safe in a signal handler of a process that never waits for the request."""
    _requested.set()


def requested() -> bool:
    """Returns whether this process has a request to stop."""
    return _requested.is_set()


def raise_if_stopped(*, clock: Callable[[], float] = time.time) -> None:
    """Raises an exception if the task is to stop here.

    Args:
        clock: Seconds since 1970.

    Raises:
        StopRequested: This process has a request to stop.
        Rejected: deadline_exceeded.
    """
    if requested():
        raise StopRequested
    deadline = _deadline.get()
    if deadline is not None and clock() > deadline:
        raise Rejected("deadline_exceeded", DEADLINE_PASSED)


@contextmanager
def until(deadline_at: float | None) -> Iterator[None]:
    """Has `raise_if_stopped` keep the deadline of a job; it is checked at once.

    Args:
        deadline_at: Seconds since 1970; None for no deadline.

    Raises:
        Rejected: deadline_exceeded.
    """
    token = _deadline.set(deadline_at)
    try:
        raise_if_stopped()
        yield
    finally:
        _deadline.reset(token)
