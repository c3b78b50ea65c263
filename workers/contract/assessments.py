"""Readers' assessments of certificates: a verdict with a coded reason, kept append-only as JSON lines.

Nothing in them is about a patient, and there is no free text. The latest assessment of a certificate counts; all stay.
"""

import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.locked_files import open_locked

Verdict = Literal["accept", "reject", "amend"]
Outcome = Literal["certified", "abstained"]
ReasonCode = Literal[
    "agrees", "wrong_class", "wrong_region", "poor_image", "not_this_task", "needless_abstention", "other"
]
FILE_NAME: Final = "assessments.jsonl"
_RADII: Final = {"l2_radius/1", "l2_rendered_radius/1"}
"""Kinds of claim of a certificate with a class."""
VERDICTS: Final[Mapping[Verdict, str]] = {
    "accept": "the reader uses the result as it is",
    "reject": "the reader does not use the result",
    "amend": "the reader uses the result after a correction",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One coded reason.

    Attributes:
        meaning: What it says, in words.
        verdicts: The verdicts that it goes with.
        outcomes: The outcomes of a certificate that it goes with.
    """

    meaning: str
    verdicts: tuple[Verdict, ...]
    outcomes: tuple[Outcome, ...] = ("certified", "abstained")


REASONS: Final[Mapping[ReasonCode, Reason]] = {
    "agrees": Reason(meaning="the result agrees with the reading", verdicts=("accept",)),
    "wrong_class": Reason(meaning="another class is right", verdicts=("reject", "amend"), outcomes=("certified",)),
    "wrong_region": Reason(meaning="the result is about another part of the image", verdicts=("reject", "amend")),
    "poor_image": Reason(meaning="the image is too poor to say", verdicts=("accept", "reject", "amend")),
    "not_this_task": Reason(meaning="the image does not belong to this task", verdicts=("accept", "reject", "amend")),
    "needless_abstention": Reason(
        meaning="the class is plain, and the service abstained",
        verdicts=("reject", "amend"),
        outcomes=("abstained",),
    ),
    "other": Reason(meaning="another reason", verdicts=("accept", "reject", "amend")),
}
"""Every reason that an assessment can have."""


class ConflictError(Exception):
    """An Idempotency-Key came with another assessment before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a certificate says about itself, as far as assessments are grouped by it.

    Attributes:
        outcome: Whether a class is certified.
        backbone: Id of the backbone.
        prompt: Id of the prompt, or `template`.
        adapter: Id of the adapter of the image encoder; None for the frozen one.
    """

    outcome: Outcome
    backbone: str
    prompt: str
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One assessment.

    Attributes:
        certificate: SHA-256 of the certificate.
        verdict: What the reader does with the result.
        reason: Why.
        outcome: See `Subject`.
        backbone: See `Subject`.
        prompt: See `Subject`.
        at: Seconds since 1970.
        job: Id of the job, if the reader named one.
        task: Task of that job.
        key_sha256: SHA-256 of the Idempotency-Key.
        tenant: The tenant of the reader.
        adapter: See `Subject`; None too in a line of a release without adapters.
    """

    certificate: str
    verdict: Verdict
    reason: ReasonCode
    outcome: Outcome
    backbone: str
    prompt: str
    at: float
    job: str | None = None
    task: str | None = None
    key_sha256: str | None = None
    tenant: str = LOCAL_TENANT
    adapter: str | None = None


class Assessments:
    """The assessments of one folder; there may be several objects and processes for it."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Sets the folder, which the first assessment makes.

        Args:
            directory: The folder.
            clock: Seconds since 1970.
        """
        self._path = directory / FILE_NAME
        self._clock = clock
        self._thread = threading.Lock()
        self._inode = self._read_to = 0
        self._of: defaultdict[str, list[Assessment]] = defaultdict(list)

    def record(
        self,
        certificate: str,
        subject: Subject,
        *,
        verdict: Verdict,
        reason: ReasonCode,
        job: str | None = None,
        task: str | None = None,
        key_sha256: str | None = None,
        tenant: str = LOCAL_TENANT,
    ) -> Assessment:
        """Stores an assessment; it is on the disk when this returns.

        Args:
            certificate: SHA-256 of a certificate.
            subject: What the certificate says.
            verdict: What the reader does with the result.
            reason: Why.
            job: Id of the job.
            task: Task of the job.
            key_sha256: SHA-256 of the Idempotency-Key; a second call of the tenant with it stores nothing.
            tenant: The tenant of the reader.

        Returns:
            The assessment, or the one that was stored with the key.

        Raises:
            ConflictError: The key came with another assessment before.
            OSError: The disk refuses.
        """
        made = Assessment(
            certificate=certificate,
            verdict=verdict,
            reason=reason,
            **asdict(subject),
            at=self._clock(),
            job=job,
            task=task,
            key_sha256=key_sha256,
            tenant=tenant,
        )
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._thread:
            descriptor = open_locked(self._path)
            try:
                self._refresh()
                if key_sha256 is not None and (former := self._with_key(key_sha256, tenant)) is not None:
                    if (former.certificate, former.verdict, former.reason) != (certificate, verdict, reason):
                        raise ConflictError
                    return former
                self._append(descriptor, made)
            finally:
                os.close(descriptor)
        return made

    def of(self, certificate: str, tenant: str = LOCAL_TENANT) -> tuple[Assessment, ...]:
        """Returns the assessments of a certificate by a tenant, oldest first; the last one counts."""
        with self._thread:
            self._refresh()
            return tuple(each for each in self._of.get(certificate, ()) if each.tenant == tenant)

    def latest(self) -> tuple[Assessment, ...]:
        """Returns the assessment that counts of every certificate, for each tenant that assessed it."""
        with self._thread:
            self._refresh()
            counting = {(each.certificate, each.tenant): each for those in self._of.values() for each in those}
            return tuple(counting.values())

    def totals(self) -> Counter[tuple[Outcome, Verdict]]:
        """Returns how many assessments there are of each outcome and verdict, with those that do not count any more."""
        with self._thread:
            self._refresh()
            return Counter((each.outcome, each.verdict) for those in self._of.values() for each in those)

    def _with_key(self, key_sha256: str, tenant: str) -> Assessment | None:
        known = (each for those in self._of.values() for each in those)
        return next((each for each in known if (each.key_sha256, each.tenant) == (key_sha256, tenant)), None)

    def _refresh(self) -> None:
        """Reads what was written since the last time, by whomever."""
        try:
            with self._path.open("rb") as file:
                if (inode := os.fstat(file.fileno()).st_ino) != self._inode:  # some were erased
                    self._inode, self._read_to = inode, 0
                    self._of.clear()
                file.seek(self._read_to)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, TypeError):  # the unfinished line of a process that died
                made = Assessment(**json.loads(line))
                self._of[made.certificate].append(made)

    def _append(self, descriptor: int, made: Assessment) -> None:
        size = os.fstat(descriptor).st_size
        # A process that died in mid-line leaves no line break; readers pass over what it left.
        line_break = b"" if size in (0, self._read_to) else b"\n"
        rest = memoryview(line_break + json.dumps(asdict(made), sort_keys=True).encode() + b"\n")
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise


def subject_of(document: bytes) -> Subject:
    """Returns what a stored certificate document says about itself.

    Args:
        document: The document, of schema 2 or 3.

    Raises:
        ValueError: The bytes are no such document.
    """
    try:
        parsed = json.loads(document)
        return _subject_of_schema_2(parsed) if "claim" in parsed else _subject_of_schema_3(parsed)
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError("the document is of no schema that assessments know") from error


def _subject_of_schema_2(document: Mapping[str, Any]) -> Subject:
    classifier = document["classifier"]
    outcome: Outcome = "certified" if document["claim"]["outcome"] == "certified" else "abstained"
    return Subject(outcome=outcome, backbone=classifier["backbone"], prompt=classifier["prompt"])


def _subject_of_schema_3(document: Mapping[str, Any]) -> Subject:
    kinds = {claim["kind"] for claim in document["claims"]}
    parts: Sequence[Mapping[str, Any]] = document["classifier"]["parts"]
    return Subject(
        outcome="certified" if kinds & _RADII else "abstained",
        backbone=next(part["backbone"] for part in parts if "backbone" in part),
        prompt=next((part["prompt"] for part in parts if "prompt" in part), "template"),
        adapter=next((part["adapter"] for part in parts if "adapter" in part), None),
    )
