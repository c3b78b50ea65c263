"""Instances between the API and the connector: a folder for each request, whole and on the disk before its answer.

The folder gets its name when all of its files are synced. So a kill or a power cut at any moment leaves all instances
of a request or none, and those that were answered with success are there.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from certrad.models.errors import Rejected
from certrad.models.files import sync_folder
from certrad.workers.contract.uploads import require_space

_MOST: Final = 10_000
_ID: Final = re.compile(r"[0-9]{20}-[0-9a-f]{16}")
_NAME: Final = re.compile(r"[0-9]{4}\.dcm")
_STUDY: Final = "study"
_UNFINISHED: Final = ".part"


class ReceivedRequest:
    """A request that is being received: it exists for nobody else until it is kept."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._count = 0

    def open(self) -> tuple[Path, BinaryIO]:
        """Returns the next file, for writing.

        Raises:
            OSError: The disk refuses.
        """
        self._count += 1
        path = self._folder / f"{self._count:04d}.dcm"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return path, os.fdopen(descriptor, "wb")

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Writes to a file, as long as the disk has space.

        Raises:
            OSError: The disk refuses.
            Rejected: storage_unavailable.
        """
        require_space(self._folder, self._min_free_bytes + len(data))
        file.write(data)


class ReceivedSpool:
    """The folder of received instances."""

    def __init__(self, pacs_dir: Path) -> None:
        self._folder = pacs_dir / "received"

    @contextmanager
    def receive(self, study: str | None, *, min_free_bytes: int) -> Iterator[ReceivedRequest]:
        """Keeps what is written in the block, all of it and for good; after an error nothing of it.

        Args:
            study: The UID of the study that all instances must belong to; None for any.
            min_free_bytes: Bytes that must stay free on the disk.

        Raises:
            Rejected: queue_full, storage_unavailable.
        """
        request_id = f"{time.time_ns():020d}-{secrets.token_hex(8)}"
        part = self._folder / f".{request_id}{_UNFINISHED}"
        try:
            if self._folder.is_dir() and sum(1 for _ in self._folder.iterdir()) >= _MOST:
                raise Rejected("queue_full", f"{_MOST} requests wait for the connector")
            for folder in (self._folder.parent, self._folder, part):
                folder.mkdir(mode=0o700, parents=True, exist_ok=folder != part)
            if study is not None:
                _write_synced(part / _STUDY, study.encode())
            yield ReceivedRequest(part, min_free_bytes)
            if any(part.glob("*.dcm")):
                sync_folder(part)
                part.rename(self._folder / request_id)
                sync_folder(self._folder)
        except OSError as error:
            raise Rejected("storage_unavailable", f"the instances were not stored: {error.strerror}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def waiting(self) -> list[str]:
        """Returns the ids of the requests that are here, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _ID.fullmatch(path.name))

    def files(self, request_id: str) -> list[str]:
        """Returns the names of the files of a request, each as `ID/NAME`, in the order in which they came."""
        names = sorted(path.name for path in (self._folder / request_id).iterdir())
        return [f"{request_id}/{name}" for name in names if _NAME.fullmatch(name)]

    def study(self, request_id: str) -> str | None:
        """Returns the UID of the study that the instances of a request must belong to; None for any."""
        try:
            return (self._folder / request_id / _STUDY).read_text("ascii")
        except FileNotFoundError:
            return None

    def read(self, file: str) -> bytes:
        """Returns the bytes of a file.

        Args:
            file: Its name, of `files`.

        Raises:
            OSError: It is gone, or the disk refuses.
        """
        return (self._folder / file).read_bytes()

    def delete(self, file: str) -> None:
        """Deletes a file, and the folder of its request if it was the last one."""
        path = self._folder / file
        path.unlink(missing_ok=True)
        if not any(path.parent.glob("*.dcm")):
            shutil.rmtree(path.parent, ignore_errors=True)

    def forget_unfinished(self, before: float) -> None:
        """Deletes what a process left that died while it received.

        Args:
            before: Seconds since 1970; what was changed later may still be written.
        """
        for path in self._folder.glob(f".*{_UNFINISHED}"):
            if path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        sync_file(file)


def sync_file(file: BinaryIO) -> None:
    """Puts the bytes of a file on the disk.

    Raises:
        OSError: The disk refuses.
    """
    file.flush()
    os.fsync(file.fileno())
