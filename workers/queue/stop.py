"""A request to stop this process, asked for between two blocks of samples."""

import threading
from typing import Final

_requested: Final = threading.Event()


class StopRequested(Exception):
    """The process is to stop: the task ends here, and RQ hands its job to another worker at no cost in retries."""


def request() -> None:
    """Asks this process to stop; safe in a signal handler of a process that never waits for the request."""
    _requested.set()


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _requested.is_set()


def check() -> None:
    """Raises StopRequested once this process was asked to stop."""
    if requested():
        raise StopRequested
