"""Decides whether a failure is that of a whole side, which then rests, or of one object, which is postponed alone.

Without this, one object at which the PACS always times out would be tried first for ever, and nothing after it.
"""

from collections.abc import Callable
from typing import Final

from certrad.workers.pacs.failures import ExchangeError

_OF_EITHER: Final = frozenset(
    {"timeout", "disconnected", "unauthorized", "busy", "server_error", "internal_error", "not_certrad"}
)
_MAY_PASS: Final = _OF_EITHER | {"forbidden"}


def is_down(error: ExchangeError, probe: Callable[[], object]) -> bool:
    """Returns whether a failure is that of the whole side, so that the attempt does not count.

    Args:
        error: The failure.
        probe: Asks the side for something small that has nothing to do with the object; raises an ExchangeError.
    """
    if error.code not in _OF_EITHER:
        return error.retryable
    try:
        probe()
    except ExchangeError as other:
        return other.retryable or other.code == "server_error"
    return False


def may_pass(error: ExchangeError) -> bool:
    """Returns whether a failure of one object may pass by itself, after hours rather than minutes."""
    return error.code in _MAY_PASS
