"""The record of one job, and what may come of creating one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic import TypeAdapter

from certrad.workers.contract.names import (
    ENDED,
    PHASES,
    STATUSES,
    Phase,
    Status,
)
from certrad.workers.contract.progress import Progress, Request, from_fields

# Told apart by what they hold, for a record of a version that knew one kind of job names none.
REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(Request)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job as it stands.

    image: facts of the decoded image that hold no patient data (digests, size), once intake has decoded it; of a
        tuning the classes and labels of the images that were left for the engine, and their digest.
    result: the body of `result` of a succeeded job. error: `{code, detail}` of a failed one.
    certificate: SHA-256 of the certificate document.
    """

    id: str
    status: Status
    phase: Phase
    request: Request
    progress: Progress
    created_at: float
    updated_at: float
    image: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    certificate: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has reached a status it cannot leave."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the records, newest first; `following` is the `before` of the next page, None on the last one.

    A page may hold fewer records than asked for, or none, and still have one that follows.
    """

    records: tuple[JobRecord, ...]
    following: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The job an accepted submission belongs to; `replayed` when an Idempotency-Key named an earlier one."""

    job_id: str
    replayed: bool


class QueueFullError(Exception):
    """As many jobs are active as the installation allows."""


class UnreadableRecordError(Exception):
    """A record in Redis is not one that this version writes; the message is the job's id."""


class IdempotencyConflictError(Exception):
    """The Idempotency-Key was used for another request."""


def _decode(job_id: str, stored: Mapping[bytes, bytes]) -> JobRecord:
    def optional(name: bytes) -> dict[str, Any] | None:
        return json.loads(stored[name]) if name in stored else None

    status, phase = cast("Status", stored[b"status"].decode()), cast("Phase", stored[b"phase"].decode())
    if status not in STATUSES or phase not in PHASES or (status in ENDED) != (phase == "done"):
        raise ValueError(f"status and phase must be known and fit each other, got {status!r} and {phase!r}")
    certificate = stored.get(b"certificate")
    request = REQUEST.validate_json(stored[b"request"])
    return JobRecord(
        id=job_id,
        status=status,
        phase=phase,
        request=request,
        progress=from_fields(request, stored),
        created_at=float(stored[b"created_at"]),
        updated_at=float(stored[b"updated_at"]),
        image=optional(b"image"),
        result=optional(b"result"),
        error=optional(b"error"),
        certificate=certificate.decode() if certificate else None,
    )
