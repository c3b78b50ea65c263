"""Ties the life of a process to its parent's, so that `kill -9` of a parent leaves nothing running."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with(parent_pid: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Asks the kernel to send a signal to this process when the thread of its parent that started it ends.

    It works on Linux only; elsewhere it does nothing, and children notice the end of their pipes.

    Args:
        parent_pid: The expected parent.
        signum: The signal.

    Raises:
        SystemExit: The parent is gone already.
    """
    if sys.platform == "linux":
        _set_death_signal(ctypes.CDLL(None), signum)
    if os.getppid() != parent_pid:
        raise SystemExit(1)


def parent_death_hook(signum: signal.Signals) -> Callable[[], None]:
    """Returns a `preexec_fn` for a program that cannot call `die_with` itself; for single-threaded parents only.

    It resolves everything that the child needs between fork and exec here, before the fork.
    """
    if sys.platform != "linux":
        return lambda: None
    libc, parent_pid = ctypes.CDLL(None), os.getpid()

    def tie() -> None:
        _set_death_signal(libc, signum)
        if os.getppid() != parent_pid:
            os._exit(1)

    return tie


def _set_death_signal(libc: ctypes.CDLL, signum: signal.Signals) -> None:
    libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
