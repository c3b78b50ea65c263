"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read, in the place of any other; a power cut leaves the one or the other.

    A folder that is missing is made, for its owner only. Raises OSError when the disk refuses.
    """
    with _complete_copy(path, content) as copy:
        os.replace(copy, path)


def create_file(path: Path, content: bytes) -> None:
    """Writes a file as `replace_file` does, but leaves one that is there: of several writers the first one's stands."""
    with _complete_copy(path, content) as copy, suppress(FileExistsError):
        os.link(copy, path)


@contextmanager
def _complete_copy(path: Path, content: bytes) -> Iterator[str]:
    """A file beside `path` with all of the content; whatever name it gets inside the block outlives a power cut."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, copy = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield copy
    finally:
        Path(copy).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the name may be lost with the power although the bytes are there
    finally:
        os.close(folder)
