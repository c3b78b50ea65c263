"""The request to stop this process, which tasks check between two blocks of samples."""

import threading
from typing import Final

_requested: Final = threading.Event()


class StopRequested(Exception):
    """The process is to stop: the task ends here, and RQ hands its job to another worker at no cost in retries."""


def request() -> None:
    """Requests that this process stops; safe in a signal handler of a process that never waits for the request."""
    _requested.set()


def requested() -> bool:
    """Returns whether this process has a request to stop."""
    return _requested.is_set()


def check() -> None:
    """Raises an exception if this process has a request to stop.

    Raises:
        StopRequested: It has one.
    """
    if requested():
        raise StopRequested
