"""The chain of the audit trail: how a line names the one before, and what a reader finds wrong with the files."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

GENESIS: Final = "0" * 64
"""The digest that the first line of a trail names."""

NUMBER: Final = "urn:certrad:audit-line-number"
PREVIOUS: Final = "urn:certrad:audit-previous-sha256"
MAX_LINE: Final = 64 << 10

_FILE: Final = re.compile(r"\d{4}-\d{2}\.jsonl")
_HEAD: Final = re.compile(r"(\d{1,15}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a trail: its number, from 1, and its SHA-256; number 0 for a trail without lines."""

    number: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"


EMPTY: Final = Head(0, GENESIS)


def read_head(text: str) -> Head:
    """Returns the head that a text such as `12:ab...` names.

    Raises:
        ValueError: The text is something else.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise ValueError("must be a number, a colon and 64 hexadecimal digits, as `verify` prints it")
    return Head(int(match[1]), match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a trail, and where it shows first.

    Attributes:
        file: Name of the file.
        line: The line in it, from 1.
        reason: A sentence without a full stop.
    """

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What a reader of a whole trail finds.

    Attributes:
        head: The last line that is in order.
        first: Number of the first line that is kept; 0 without any.
        files: Number of files.
        fault: What is wrong first; None if all is in order.
        unfinished: Whether a process died while it wrote a line, which the next writer removes.
    """

    head: Head
    first: int
    files: int
    fault: Fault | None
    unfinished: bool


def chained(resource: dict[str, Any], head: Head) -> bytes:
    """Returns an event as the line after another one, with its line break.

    Args:
        resource: The AuditEvent.
        head: The line before.
    """
    extension = [
        {"url": NUMBER, "valueUnsignedInt": head.number + 1},
        {"url": PREVIOUS, "valueString": head.sha256},
    ]
    line = {**resource, "extension": extension}
    return json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def digest(line: bytes) -> str:
    """Returns the SHA-256 by which the next line names this one, whose line break does not count."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def links_of(line: bytes) -> Head | None:
    """Returns the number of a line with the digest that it names; None for a line that is none of a trail."""
    try:
        extension = json.loads(line)["extension"]
        found = {each["url"]: each.get("valueUnsignedInt", each.get("valueString")) for each in extension}
        number, previous = found[NUMBER], found[PREVIOUS]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not (isinstance(number, int) and isinstance(previous, str)):
        return None
    return Head(number, previous)


def trail_files(directory: Path) -> list[Path]:
    """Returns the files of a trail, oldest first."""
    return sorted(path for path in directory.glob("*.jsonl") if _FILE.fullmatch(path.name))


def check_chain(directory: Path, *, noted: Head | None = None) -> ChainReport:
    """Returns whether every line of a trail names the one before it.

    Lines that were removed from the end leave no trace in the others: only a head that was noted elsewhere shows that.

    Args:
        directory: The folder of the trail.
        noted: A head that was noted earlier, which must still be in the trail unless it has expired.

    Raises:
        OSError: A file cannot be read.
    """
    return _Check(directory, noted).run()


class _Check:
    """One reading of a whole trail."""

    def __init__(self, directory: Path, noted: Head | None) -> None:
        self._files = trail_files(directory)
        self._noted = noted
        self._head = EMPTY
        self._first: Head | None = None
        self._expired: set[str] = set()
        self._unfinished = False

    def run(self) -> ChainReport:
        """Returns the report."""
        fault = next(self._faults(), None)
        return ChainReport(
            head=self._head,
            first=0 if self._first is None else self._first.number,
            files=len(self._files),
            fault=fault,
            unfinished=self._unfinished,
        )

    def _faults(self) -> Iterator[Fault]:
        for path in self._files:
            with path.open("rb") as file:
                for place, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
                    reason = self._reason(line, is_newest=path == self._files[-1])
                    if reason:
                        yield Fault(file=path.name, line=place, reason=reason)
        if self._first is not None and self._first.number > 1 and str(self._before_first()) not in self._expired:
            reason = f"lines 1 to {self._first.number - 1} are missing, and the trail does not say that they expired"
            yield Fault(file=self._files[0].name, line=1, reason=reason)
        if self._noted is not None and self._noted.number > self._head.number:
            reason = f"the trail ends at line {self._head.number}, and line {self._noted.number} was noted"
            yield Fault(file=self._files[-1].name if self._files else "", line=0, reason=reason)

    def _reason(self, line: bytes, *, is_newest: bool) -> str | None:
        """Returns what is wrong with the next line, or None."""
        if not line.endswith(b"\n"):
            self._unfinished = is_newest and len(line) < MAX_LINE
            return None if self._unfinished else "the line has no end"
        links = links_of(line)
        if links is None:
            return "the line is not an event of this trail"
        if self._first is None:
            self._first = links
            self._head = self._before_first()
        if links.number != self._head.number + 1:
            return f"the line has number {links.number}, and {self._head.number + 1} is expected here"
        if links.sha256 != self._head.sha256:
            return f"line {links.number} does not name the line before it: one of the two was changed"
        self._head = Head(links.number, digest(line))
        if self._noted is not None and self._noted.number == links.number and self._noted != self._head:
            return f"line {links.number} is not the one that was noted"
        self._expired |= _expired_by(line)
        return None

    def _before_first(self) -> Head:
        """Returns the head that the first line which is kept follows."""
        first = self._first or Head(1, GENESIS)
        if first.number == 1:
            return EMPTY
        return Head(first.number - 1, first.sha256)


def expiry(head: Head) -> dict[str, str]:
    """Returns the details of the event that a file has expired.

    Args:
        head: The last line of the file.
    """
    return {"head": str(head)}


def _expired_by(line: bytes) -> set[str]:
    """Returns the heads of expired files that a line tells."""
    if b'"file_expired"' not in line:
        return set()
    entities = json.loads(line).get("entity", [])
    return {
        detail["valueString"] for entity in entities for detail in entity.get("detail", []) if detail["type"] == "head"
    }
