"""A durable index of the reports about each image, so that a new report names the one before it.

It also keeps the time of the first report about a certificate: a repeated job renders the identical instance. There is
one small file for each instance and frame. Its name is an HMAC of both under a secret of the installation, so that the
index alone names no image and no patient. A file holds a line for each report; a line that a power cut tore counts for
nothing. Several workers may use the index at once: each has the file of its image for itself.
"""

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from certrad.models.files import create_file
from certrad.workers.contract.access import LOCAL_TENANT

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUids:
    """The identifiers of a structured report, which this service made.

    Attributes:
        sop_class: Its SOP class.
        instance: Its SOP instance.
        series: Its series.
    """

    sop_class: str
    instance: str
    series: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedReport:
    """A report that was made.

    Attributes:
        certificate: SHA-256 of the certificate that it is about.
        issued_at: When the first report about this certificate was made, with its time zone.
        uids: The structured report; None where there is none, so that it precedes no other.
        tenant: The tenant of its job.
    """

    certificate: str
    issued_at: datetime
    uids: ReportUids | None
    tenant: str = LOCAL_TENANT


class ReportHistory:
    """The reports about one frame of one instance, in the order in which they were first made."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        content = file.read()
        self._end = content.rfind(b"\n") + 1
        self._reports: dict[str, IssuedReport] = {}
        for line in filter(bytes.strip, content[: self._end].splitlines()):  # one that was forgotten is blank
            self._remember(_from_json(line))

    def of(self, certificate: str) -> IssuedReport | None:
        """Returns the report about a certificate; None if there is none yet."""
        return self._reports.get(certificate)

    def before(self, certificate: str) -> ReportUids | None:
        """Returns the last structured report that was made before any about this certificate; None for the first."""
        former = None
        for report in self._reports.values():
            if report.certificate == certificate:
                break
            former = report.uids or former
        return former

    def add(self, report: IssuedReport) -> None:
        """Adds a report, unless it is there; when this returns, a power cut does not take it.

        Args:
            report: The report; its time stays that of the first one about its certificate.

        Raises:
            OSError: The disk refuses.
        """
        if self._remember(report):
            self._file.truncate(self._end)  # what a power cut tore off
            self._file.seek(self._end)
            self._file.write(_to_json(self._reports[report.certificate]))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._end = self._file.tell()

    def _remember(self, report: IssuedReport) -> bool:
        """Returns whether a report says something new."""
        known = self._reports.get(report.certificate)
        if known is not None and (known.uids is not None or report.uids is None):
            return False
        issued_at = report.issued_at if known is None else known.issued_at
        self._reports[report.certificate] = replace(report, issued_at=issued_at)
        return True


@dataclass(frozen=True, slots=True)
class ReportIndex:
    """The folder of the index."""

    directory: Path

    @contextmanager
    def history(self, *subject: str) -> Iterator[ReportHistory]:
        """Opens the history of an image for as long as the block runs; other workers wait for it.

        Args:
            subject: What identifies the image: its SOP instance and frame, say.

        Yields:
            The history.

        Raises:
            OSError: The disk refuses.
            ValueError: A line of the history is none that this version writes.
        """
        path = self._path(subject)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released with the descriptor, also of a process that dies
            _sync(path.parent)
            yield ReportHistory(file)

    def forget(self, certificates: Collection[str], *, tenant: str, is_rehearsal: bool = False) -> int:
        """Forgets a tenant's reports about some certificates, and returns how many there were.

        A line is blanked in its place, so that a power cut takes no other line along, and other workers that wait for
        the file write after it.

        Args:
            certificates: SHA-256 of each certificate.
            tenant: The tenant of the jobs; reports about the same certificates for others stay.
            is_rehearsal: Whether to count them only.

        Raises:
            OSError: The disk refuses.
            ValueError: A line of the index is none that this version writes.
        """
        if not certificates or not self.directory.is_dir():
            return 0
        histories = (path for path in self.directory.glob("??/*") if path.is_file())
        return sum(_blank(path, certificates, tenant, is_rehearsal=is_rehearsal) for path in histories)

    def _path(self, subject: tuple[str, ...]) -> Path:
        key = self.directory / "key"
        if not key.exists():
            create_file(key, os.urandom(_KEY_BYTES))  # of several workers the first wins
        name = hmac.new(key.read_bytes(), "\0".join(subject).encode(), hashlib.sha256).hexdigest()
        return self.directory / name[:2] / name


def _blank(path: Path, certificates: Collection[str], tenant: str, *, is_rehearsal: bool) -> int:
    """Blanks a tenant's lines of a history that are about some certificates, and returns how many there were."""
    count = start = 0
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for line in file.read().splitlines(keepends=True):
            report = _from_json(line) if line.strip() and line.endswith(b"\n") else None
            if report is not None and report.tenant == tenant and report.certificate in certificates:
                count += 1
                if not is_rehearsal:
                    os.pwrite(file.fileno(), b" " * (len(line) - 1), start)
            start += len(line)
        os.fsync(file.fileno())
    return count


def _sync(folder: Path) -> None:
    """Puts the names in a folder on the disk, where a history may have been made just now."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(report: IssuedReport) -> bytes:
    uids = report.uids and [report.uids.sop_class, report.uids.instance, report.uids.series]
    fields = {
        "certificate": report.certificate,
        "issued_at": report.issued_at.isoformat(),
        "uids": uids,
        "tenant": report.tenant,
    }
    return json.dumps(fields).encode() + b"\n"


def _from_json(line: bytes) -> IssuedReport:
    fields = json.loads(line)
    uids = fields["uids"]
    return IssuedReport(
        certificate=fields["certificate"],
        issued_at=datetime.fromisoformat(fields["issued_at"]),
        uids=None if uids is None else ReportUids(sop_class=uids[0], instance=uids[1], series=uids[2]),
        tenant=fields.get("tenant", LOCAL_TENANT),  # a release without tenants names none
    )
