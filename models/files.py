"""Atomic writes, for every file that a reader could otherwise meet half written."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, content: bytes, *, private: bool = True) -> None:
    """Writes a file, or replaces it; a power cut leaves the old file or the new one.

    Args:
        path: Path of the file; a missing folder is made.
        content: All of its bytes.
        private: Whether only the owner may read the file and a folder that is made; else the umask decides.

    Raises:
        OSError: The disk refuses.
    """
    with replacement(path, private=private) as file:
        file.write(content)


def create_file(path: Path, content: bytes) -> None:
    """Writes a private file as `replace_file` does, but leaves one that is there: of several writers the first wins.

    Args:
        path: Path of the file; a missing folder is made.
        content: All of its bytes.

    Raises:
        OSError: The disk refuses.
    """

    def link(copy: Path) -> None:
        with suppress(FileExistsError):
            os.link(copy, path)

    with _copy_beside(path, link, private=True, durable=True) as file:
        file.write(content)


@contextmanager
def replacement(path: Path, *, private: bool = True, durable: bool = True) -> Iterator[BinaryIO]:
    """Opens a file that replaces another when the block ends; after an error the old file stays.

    Args:
        path: See `replace_file`.
        private: See `replace_file`.
        durable: Whether bytes and name are on the disk when the block has ended, so that a power cut cannot take them.

    Yields:
        The file, for writing.

    Raises:
        OSError: The disk refuses.
    """
    with _copy_beside(path, lambda copy: os.replace(copy, path), private=private, durable=durable) as file:
        yield file


@contextmanager
def _copy_beside(path: Path, name: Callable[[Path], None], *, private: bool, durable: bool) -> Iterator[BinaryIO]:
    """Opens a file in the folder of `path`, and names it when all of it is written."""
    path.parent.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    copy = path.parent / f".{secrets.token_hex(8)}.part"
    mode = 0o600 if private else 0o666
    try:
        with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        name(copy)
    finally:
        copy.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk: without them its files may be lost although their bytes are there.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
