"""The record of one job, and the errors of creating and reading a job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator, TypeAdapter

from certrad.models.types.image import IMAGE_WARNINGS, ImageRecord
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.models.types.tuning import TuningResult
from certrad.workers.contract.names import ENDED, PHASES, STATUSES, Phase, Status
from certrad.workers.contract.outputs import OutputOutcomes
from certrad.workers.contract.progress import Progress, at_start, from_fields
from certrad.workers.contract.request import Request, read_request
from certrad.workers.contract.submission import ANONYMOUS, Submission
from certrad.workers.contract.tuning_images import TuningImages

JobInput = ImageRecord | TuningImages
"""The facts of what an engine works on: the image of a certification, or the images of a tuning."""

JobResult = CertifiedResult | AbstainedResult | TuningResult


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job failed.

    Attributes:
        code: A code of `certrad.models.errors`.
        detail: What was wrong, as a sentence without patient data.
    """

    code: str
    detail: str


INPUT: Final[TypeAdapter[JobInput]] = TypeAdapter(JobInput)


def _with_coded_warnings(result: Any) -> Any:  # noqa: ANN401  # the JSON of a result, not checked yet
    """Returns the JSON of a result in which warnings that an earlier release wrote as sentences have codes."""
    if not isinstance(result, dict) or not isinstance(result.get("warnings"), list):
        return result
    codes: dict[str, str] = {message: code for code, message in IMAGE_WARNINGS.items()}
    warnings = [
        {"code": codes.get(warning, "backbone_note"), "message": warning} if isinstance(warning, str) else warning
        for warning in result["warnings"]
    ]
    return {**result, "warnings": warnings}


RESULT: Final[TypeAdapter[JobResult]] = TypeAdapter(Annotated[JobResult, BeforeValidator(_with_coded_warnings)])
ERROR: Final = TypeAdapter(JobError)
OUTPUT_OUTCOMES: Final[TypeAdapter[OutputOutcomes]] = TypeAdapter(OutputOutcomes)


def phase_data(phase: Phase, image: JobInput | None = None) -> dict[str, Any]:
    """Returns the data of the event `phase`: the phase and, once the image is decoded, the codes of its warnings.

    Args:
        phase: The phase.
        image: Facts of the decoded image or images, if they have just become known.
    """
    return {"phase": phase, "warnings": list(image.warnings)} if isinstance(image, ImageRecord) else {"phase": phase}


def end_data(status: Status, *, result: JobResult | None = None, error: JobError | None = None) -> dict[str, Any]:
    """Returns the data of the event `end`: the status, and what a reader wants to know first.

    Args:
        status: One of `ENDED`.
        result: The result of a succeeded job.
        error: The error of a failed job.
    """
    data: dict[str, Any] = {"status": status}
    if isinstance(result, CertifiedResult | AbstainedResult):
        codes = [warning.code for warning in result.warnings]
        data |= {"outcome": result.outcome, "warnings": codes, "label": result.label, "radius": result.radius}
    return data if error is None else data | {"code": error.code}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job with its current status.

    Attributes:
        id: Its id.
        status: The stage of its life.
        phase: The work that is being done for it.
        request: The request with every default filled in.
        submission: Who sent the job, and what the sender wants besides the result.
        progress: The samples, epochs or images that are done.
        created_at: Seconds since 1970.
        updated_at: Seconds since 1970.
        image: Facts of the decoded image or images, free of patient data, once intake has decoded them.
        result: The result of a succeeded job.
        error: The error of a failed job.
        certificate: SHA-256 of the certificate document, 64 hexadecimal digits.
        outputs: The reports that were made, and why others were not; empty for a job without a certificate, and for
            one of a release that made none.
    """

    id: str
    status: Status
    phase: Phase
    request: Request
    progress: Progress
    created_at: float
    updated_at: float
    submission: Submission = ANONYMOUS
    image: JobInput | None = None
    result: JobResult | None = None
    error: JobError | None = None
    certificate: str | None = None
    outputs: OutputOutcomes = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Returns whether the job has reached a status that it cannot leave."""
        return self.status in ENDED

    @staticmethod
    def queued(job_id: str, request: Request, submission: Submission, *, at: float) -> "JobRecord":
        """Returns the record of a job that has just been created.

        Args:
            job_id: The job's id.
            request: The request with every default filled in.
            submission: Who sent the job.
            at: Seconds since 1970.
        """
        return JobRecord(
            id=job_id,
            status="queued",
            phase="queued",
            request=request,
            submission=submission,
            progress=at_start(request),
            created_at=at,
            updated_at=at,
        )

    @staticmethod
    def from_fields(job_id: str, stored: Mapping[bytes, bytes]) -> "JobRecord":
        """Returns the record that is stored in a hash.

        Args:
            job_id: The job's id.
            stored: The fields of the hash.

        Raises:
            KeyError: A field is missing.
            ValueError: A field is not what this version writes.
        """
        status, phase = cast("Status", stored[b"status"].decode()), cast("Phase", stored[b"phase"].decode())
        if status not in STATUSES or phase not in PHASES or (status in ENDED) != (phase == "done"):
            raise ValueError(f"status and phase must be known and fit each other, got {status!r} and {phase!r}")
        request = read_request(stored[b"request"])
        image, result, error = (stored.get(name) for name in (b"image", b"result", b"error"))
        certificate, outputs = stored.get(b"certificate"), stored.get(b"outputs")
        return JobRecord(
            id=job_id,
            status=status,
            phase=phase,
            request=request,
            progress=from_fields(request, stored),
            created_at=float(stored[b"created_at"]),
            updated_at=float(stored[b"updated_at"]),
            submission=Submission.from_fields(stored),
            image=INPUT.validate_json(image) if image else None,
            result=RESULT.validate_json(result) if result else None,
            error=ERROR.validate_json(error) if error else None,
            certificate=certificate.decode() if certificate else None,
            outputs=OUTPUT_OUTCOMES.validate_json(outputs) if outputs else {},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the records, newest first.

    A page may hold fewer records than its limit, or none, and still have a next page.

    Attributes:
        records: The records.
        following: The `before` of the next page, None on the last one.
    """

    records: tuple[JobRecord, ...]
    following: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The job an accepted submission belongs to.

    Attributes:
        record: The job as a submission creates it. One that an Idempotency-Key named may have gone on since.
        replayed: Whether an Idempotency-Key named an earlier one.
    """

    record: JobRecord
    replayed: bool

    @property
    def job_id(self) -> str:
        """Returns the id of the job."""
        return self.record.id


class QueueFullError(Exception):
    """The installation has as many active jobs as it allows."""


class TenantQuotaError(Exception):
    """The tenant has as many active jobs as one may have."""


class UrgentQuotaError(Exception):
    """The tenant has as many urgent jobs that have not ended as it may have."""


class UnreadableRecordError(Exception):
    """A record in Redis is not one that this version writes; the message is the job's id."""


class IdempotencyConflictError(Exception):
    """The Idempotency-Key was used for another request."""
