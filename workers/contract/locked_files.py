"""Files that several processes append to, and that one of them may replace: a lock on what bears the name now."""

import fcntl
import os
from pathlib import Path


def open_locked(path: Path) -> int:
    """Returns the descriptor of a file, made if need be, that no other process has locked; closing it lets go.

    A file that was replaced while this process waited for it is opened again: what is appended to the former one would
    be lost.

    Args:
        path: Path of the file.

    Raises:
        OSError: The disk refuses.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_current = os.fstat(descriptor).st_ino == path.stat().st_ino
        except BaseException:  # whatever it was, it is raised again; the descriptor must not stay
            os.close(descriptor)
            raise
        if is_current:
            return descriptor
        os.close(descriptor)
