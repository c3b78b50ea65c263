"""The exit codes of the commands, and how a command ends with one and a sentence for its user."""

import sys
from typing import Final

DONE: Final = 0
"""The command did what it was for: every image is certified, the document is valid, there is a prompt."""
FAILURE: Final = 1
BAD_USAGE: Final = 2
ABSTAINED: Final = 3
OTHER_DATA: Final = 65  # EX_DATAERR: the data are of a version that this release does not know
SELFTEST_FAILED: Final = 70  # EX_SOFTWARE: a worker takes no work, because its self-test failed
REDIS_AWAY: Final = 75  # EX_TEMPFAIL: a worker ended because Redis did not answer or took no writes
INTERRUPTED: Final = 130  # as a shell calls a process that SIGINT ended


class RefusalError(Exception):
    """A command refuses to run: a sentence for its user, and the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail(message: str, code: int) -> int:
    """Prints on standard error why a command ends.

    Args:
        message: A sentence without a full stop.
        code: The exit code.

    Returns:
        The exit code.
    """
    sys.stderr.write(f"certrad: {message}\n")
    return code
