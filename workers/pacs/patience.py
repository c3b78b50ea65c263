"""How long the connector waits before it tries again, and whom it leaves alone until then."""

from collections import Counter
from typing import Final

_LONGEST_OF_OBJECT: Final = 6 * 3600.0


class Patience:
    """Counts for each other side how often it did not answer in a row; each wait is twice the one before."""

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._silent: Counter[str] = Counter()
        self._until: dict[str, float] = {}

    def wait(self, attempts: int) -> float:
        """Returns the seconds to wait after some attempts that failed before this one."""
        return float(min(self._longest, self._first * 2.0 ** min(attempts, 30)))

    def wait_long(self, attempts: int) -> float:
        """Returns the seconds to wait after a failure of one object that may pass: each wait is four times the last."""
        return float(min(_LONGEST_OF_OBJECT, self._first * 4.0 ** min(attempts, 30)))

    def is_left_alone(self, name: str, now: float) -> bool:
        """Returns whether a side did not answer a while ago and is not asked yet.

        Args:
            name: The other side.
            now: Seconds since 1970.
        """
        return self._until.get(name, 0.0) > now

    def until(self, name: str) -> float:
        """Returns when a side that did not answer is asked again, in seconds since 1970; 0 for one that did."""
        return self._until.get(name, 0.0)

    def silent(self, name: str, now: float) -> float:
        """Notes that a side did not answer.

        Args:
            name: The other side.
            now: Seconds since 1970.

        Returns:
            When to ask it again, in seconds since 1970.
        """
        self._until[name] = now + self.wait(self._silent[name])
        self._silent[name] += 1
        return self._until[name]

    def answered(self, name: str) -> None:
        """Notes that a side answered, whatever it said."""
        self._silent.pop(name, None)
        self._until.pop(name, None)
