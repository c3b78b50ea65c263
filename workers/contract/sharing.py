"""How long a certificate takes when idle engines take part in it."""

from collections.abc import Sequence
from typing import Final

_JOIN_SECONDS: Final = 1.0
"""An engine looks for idle engines once a second, and is alone until they have read the job."""


def shared_seconds(
    seconds: float, *, runs: int, batches: float, engines: int, others: Sequence[float | None], share_seconds: float
) -> float:
    """Returns the seconds of the estimation samples of a certificate at most, with the help of idle engines.

    Engines are idle only while nothing waits, so that every job must have an engine of its own. Nobody knows which
    certificate idle engines help first. But none of them is idle while there is a certificate to help with, so that all
    end within their work together, divided by the engines. A run takes one batch at least, however many help with it.

    Args:
        seconds: The seconds that one engine takes for them.
        runs: Runs that they are drawn in; each is shared by itself.
        batches: Batches of one run that are still to be labelled, at least 1.
        engines: Number of living engines that could take part, the one that has the job included.
        others: The seconds that one engine still needs for each other job; None for a job that keeps its engine for an
            unknown time, such as a tuning.
        share_seconds: Seconds that a run must take for its engine to ask idle engines to help.
    """
    known = [other for other in others if other is not None]
    free = engines - (len(others) - len(known))
    if free <= len(known) or seconds < runs * share_seconds:
        return seconds
    together = max((seconds + sum(known)) / free, seconds / batches)
    return min(seconds, runs * _JOIN_SECONDS + together)
