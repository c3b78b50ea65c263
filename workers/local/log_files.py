"""The log files of the stack: bounded in size, and never a reason to stop the service."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

_MOST_BYTES: Final = 10 << 20  # of each file, between two looks
_KEPT_COPIES: Final = 2  # files that are kept of each log beside the one that is written
_LOOK_SECONDS: Final = 5.0


def open_log(path: Path) -> IO[bytes]:
    """Returns a log to append to; the null device if the file cannot be opened, as on a full disk."""
    try:
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


class LogFiles:
    """Keeps log files below a size, while processes write to them."""

    def __init__(self, directory: Path, others: Iterable[Path] = (), *, most_bytes: int = _MOST_BYTES) -> None:
        """Looks at nothing yet.

        Args:
            directory: Every file `*.log` in it is kept small.
            others: Further files.
            most_bytes: The size above which a file is moved aside.
        """
        self._directory = directory
        self._others = tuple(others)
        self._most_bytes = most_bytes
        self._look_at = 0.0

    def keep_small(self, now: float) -> None:
        """Moves every file aside that is too large, at most once in five seconds; a failure is left for the next time.

        Args:
            now: Monotonic seconds.
        """
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        for path in (*self._directory.glob("*.log"), *self._others):
            try:
                if path.stat().st_size > self._most_bytes:
                    _move_aside(path)
            except OSError:  # gone, or not ours to change
                continue


def _move_aside(path: Path) -> None:
    """Copies a log to `NAME.1`, the one before to `NAME.2`, and empties it.

    The writers hold the file open, each at its end (O_APPEND), so it is emptied and not renamed. A line that is written
    between copy and end is lost. Without space for a copy the lines are lost, and their space is free.
    """
    copy = _numbered(path, 0)
    try:
        shutil.copyfile(path, copy)
        for number in range(_KEPT_COPIES, 1, -1):
            if _numbered(path, number - 1).exists():
                _numbered(path, number - 1).replace(_numbered(path, number))
        copy.replace(_numbered(path, 1))
    except OSError:
        copy.unlink(missing_ok=True)
    finally:
        os.truncate(path, 0)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
