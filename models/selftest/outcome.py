"""How one check of a self-test ends; without torch, for intake."""

from collections.abc import Callable

from certrad.models.types.selftest import CheckName, SelfTestCheck


class CheckFailedError(Exception):
    """A check of the self-test failed; the message says what was found."""


def run_check(name: CheckName, check: Callable[[], str], clock: Callable[[], float]) -> SelfTestCheck:
    """Returns the outcome of a check; whatever it raises is a failure of the check.

    Args:
        name: Its name.
        check: Returns what it found, as a sentence.
        clock: Seconds, to measure with.
    """
    began = clock()
    try:
        ok, detail = True, check()
    except (CheckFailedError, ValueError) as refusal:
        ok, detail = False, str(refusal)
    except Exception as error:  # the rim: a machine that raises has failed, whatever it raised
        ok, detail = False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return SelfTestCheck(name=name, ok=ok, detail=detail, seconds=round(clock() - began, 3))
