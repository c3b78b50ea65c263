"""Lines of a log that repeat themselves: one in each period."""

import logging
import time
from collections.abc import Callable


class OncePerPeriod(logging.Filter):
    """Lets each message through once in a period, and then adds how many were withheld.

    A client that opens a thousand connections a second shall not fill the disk with lines about them.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Sets the period.

        Args:
            seconds: The period.
            clock: Gives the time in seconds.
        """
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._passed: dict[str, float] = {}  # first line of a message, without its values -> when it was let through
        self._withheld: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the line is written; adds the number of those that were not."""
        whole, now = str(record.msg), self._clock()
        message = whole.partition("\n")[0]  # the lines after it name one connection of many
        before = self._passed.get(message)
        if before is not None and now - before < self._seconds:
            self._withheld[message] = self._withheld.get(message, 0) + 1
            return False
        self._passed[message] = now
        if withheld := self._withheld.pop(message, 0):
            record.msg = f"{whole} ({withheld} more times since the line before)"
        return True
