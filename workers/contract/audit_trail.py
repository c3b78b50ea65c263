"""The audit trail: AuditEvents of FHIR as JSON lines, append-only, each with the SHA-256 of the one before.

Any number of processes may write. A line is on the disk when `record` returns. Only the standard library is used, so
that every process can write it.
"""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from certrad.models.files import create_file
from certrad.workers.contract.audit_chain import EMPTY, MAX_LINE, Head, chained, digest, expiry, links_of, trail_files
from certrad.workers.contract.audit_events import AuditEvent

_log = logging.getLogger("certrad.audit")
_SECONDS_PER_DAY: Final = 86_400


class AuditTrail:
    """Writes the trail of one folder; there may be several objects and processes for it.

    An event that cannot be written, as on a full disk, is lost and counted: the service goes on. The next event that
    can be written comes after one that says how many were lost in this process.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_loss: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sets the folder, which the first event makes.

        Args:
            directory: The folder of the trail.
            on_loss: Called for every event that is lost; it must not raise.
            clock: Seconds since 1970.
        """
        self._directory = directory
        self._on_loss = on_loss
        self._clock = clock
        self._lost = 0
        self._thread = threading.Lock()
        self._known: tuple[Path, int, Head] | None = None

    def record(self, event: AuditEvent) -> bool:
        """Writes an event; it is on the disk when this returns.

        Args:
            event: The event.

        Returns:
            False if it was lost, which is then counted and logged.
        """
        with self._thread:
            try:
                with self._locked():
                    self._append(event)
            except OSError as error:
                self._lost += 1
                line = {"event": "audit event lost", "name": event.name, "errno": error.errno, "lost": self._lost}
                _log.error(json.dumps(line))
                self._on_loss()
                return False
            self._lost = 0
            return True

    def head(self) -> Head:
        """Returns the number and the SHA-256 of the last line.

        Raises:
            OSError: The trail cannot be read.
        """
        return _last_head(trail_files(self._directory))

    def pseudonym(self, uid: str) -> str:
        """Returns the HMAC by which events name an instance, with a key that never leaves this data directory.

        Args:
            uid: A UID of DICOM.

        Raises:
            OSError: The key can be neither read nor made.
        """
        path = self._directory / "hmac.key"
        if not path.exists():
            create_file(path, secrets.token_bytes(32))
        return hmac.new(path.read_bytes(), uid.encode(), hashlib.sha256).hexdigest()

    def expire(self, *, days: int, process: str) -> int:
        """Deletes the files whose newest event is older than the retention; the event that says so comes first.

        Args:
            days: The retention.
            process: The process that calls.

        Returns:
            The number of files that were deleted.

        Raises:
            OSError: The disk refuses.
        """
        deleted = 0
        if not self._directory.exists():
            return deleted
        oldest = self._clock() - days * _SECONDS_PER_DAY
        with self._thread, self._locked():
            for path in trail_files(self._directory)[:-1]:  # the newest file has the head
                if _end_of_month(path) > oldest:
                    break
                details = {"file": path.name, **expiry(_last_head([path]))}
                self._append(AuditEvent(name="file_expired", process=process, details=details))
                path.unlink()
                deleted += 1
            if deleted:
                _sync(self._directory)
        return deleted

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps every other writer out, in this process and in others."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _append(self, event: AuditEvent) -> None:
        now = self._clock()
        files = trail_files(self._directory)
        path = self._directory / f"{datetime.fromtimestamp(now, UTC):%Y-%m}.jsonl"
        if files and files[-1] > path:  # the clock was put back
            path = files[-1]
        head, torn = self._tail(files)
        content = b""
        for each in _with_notices(event, lost=self._lost, torn=torn):
            line = chained(each.resource(at=now), head)
            head, content = Head(head.number + 1, digest(line)), content + line
        self._known = None
        size = _append_whole(path, content)
        if path not in files:
            _sync(self._directory)
        self._known = (path, size, head)

    def _tail(self, files: Sequence[Path]) -> tuple[Head, bytes]:
        """Returns the last line, and the unfinished line after it that is removed here, if a writer died."""
        if files and self._known is not None and self._known[:2] == (files[-1], files[-1].stat().st_size):
            return self._known[2], b""  # nobody else has written since
        torn = b""
        if files:
            whole, torn = _unfinished(files[-1])
            if torn:
                os.truncate(files[-1], whole)
        return _last_head(files), torn


def _with_notices(event: AuditEvent, *, lost: int, torn: bytes) -> Iterator[AuditEvent]:
    """Yields an event after those that say what is missing before it."""
    if torn:
        details = {"bytes": str(len(torn)), "sha256": hashlib.sha256(torn).hexdigest()}
        yield AuditEvent(name="line_repaired", process=event.process, details=details)
    if lost:
        yield AuditEvent(name="events_lost", process=event.process, details={"lost": str(lost)})
    yield event


def _append_whole(path: Path, content: bytes) -> int:
    """Appends all of the content, or nothing where the disk refuses.

    Returns:
        The size of the file.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):  # the next writer removes what is left of it
                os.ftruncate(descriptor, size)
            raise
        return size + len(content)
    finally:
        os.close(descriptor)


def _end(path: Path) -> bytes:
    """Returns the end of a file, which has its last line and what follows it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * MAX_LINE))
        return file.read()


def _unfinished(path: Path) -> tuple[int, bytes]:
    """Returns how many bytes of a file are whole lines, and the bytes after them."""
    end = _end(path)
    torn = end[end.rfind(b"\n") + 1 :]
    return path.stat().st_size - len(torn), torn


def _last_head(files: Sequence[Path]) -> Head:
    """Returns the number and the digest of the last whole line; what is no event counts as line 0."""
    for path in reversed(files):
        lines = _end(path).split(b"\n")[:-1]
        if lines:
            links = links_of(lines[-1])
            return Head(0 if links is None else links.number, digest(lines[-1]))
    return EMPTY


def _end_of_month(path: Path) -> float:
    """Returns the first second after the month that a file is named after."""
    year, month = map(int, path.stem.split("-"))
    _, days = monthrange(year, month)
    return datetime(year, month, 1, tzinfo=UTC).timestamp() + days * _SECONDS_PER_DAY


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
