"""The jobs as the API returns them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, Field

from certrad.app.api.estimates import ExpectedTimes
from certrad.app.api.problems import ProblemBody, problem
from certrad.models.types.image import IMAGE_WARNINGS, ImageRecord, ImageWarning
from certrad.models.types.result import CertificationResult
from certrad.models.types.tuning import TuningRequest, TuningResult
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import Phase, Status
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.contract.progress import RunningBound, SamplesDone
from certrad.workers.contract.request import SpelledCertifyRequest, spell

_ID = "0f8fad5bd9cb469fa16570867728950e"
_PLACE: Final[dict[OutputKind, str]] = {
    "structured_report": "certificate",
    "secondary_capture": "secondary-capture",
    "fhir": "certificate",
}
_BY_IMAGES: Final[frozenset[Phase]] = frozenset({"unpacking", "attacking"})


class Progress(BaseModel):
    """The progress of a certification; it counts all its samples, those of variants included, up to `samples_total`."""

    phase: Phase
    samples_done: int = Field(examples=[4196])
    samples_total: int = Field(examples=[10100])
    running_radius: float | None = Field(
        None,
        description="only with `target_radius`: the radius proved so far; with probability at least 1 - alpha it is "
        "never above the true one",
    )
    running_bound: RunningBound | None = Field(
        None,
        description="only at a fixed `n` and `sigma`, from the first estimation samples to the end: what a run planned "
        "with the samples so far would show; an estimate of the outcome, never a claim",
    )


class TuningProgress(BaseModel):
    """The progress of a tuning."""

    phase: Phase
    epochs_done: int = Field(examples=[12])
    epochs_total: int = Field(examples=[50])
    loss: float | None = Field(None, description="mean over the last epoch done", examples=[0.4127])
    images_done: int | None = Field(None, description="images decoded or attacked; only in `unpacking` and `attacking`")
    images_total: int | None = None


class Links(BaseModel):
    """The addresses of what belongs to the job."""

    self: str = Field(examples=[f"/jobs/{_ID}"])
    events: str = Field(examples=[f"/jobs/{_ID}/events"])
    certificate: str | None = Field(description="the certificate document, once there is one")
    structured_report: str | None = Field(
        None,
        description="the DICOM structured report, at this address with `Accept: application/dicom`; null without one",
        examples=[f"/jobs/{_ID}/certificate"],
    )
    secondary_capture: str | None = Field(
        None, description="the DICOM secondary capture, a page for every viewer; null without one"
    )
    fhir: str | None = Field(
        None,
        description="the FHIR R4 bundle, at this address with `Accept: application/fhir+json`; null without one",
        examples=[f"/jobs/{_ID}/certificate"],
    )


class ImageRemark(BaseModel):
    """What a reader must know about the image; the warnings of the result repeat it."""

    code: ImageWarning
    message: str = Field(description="the same as sentences")


class Estimate(BaseModel):
    """When the job will be done if nothing changes; it errs, see docs/queue.md."""

    wait_seconds: float | None = Field(
        description="seconds until an engine has the job, 0 once it has; null if unknown", examples=[12.5]
    )
    run_seconds: float | None = Field(
        description="seconds of work that are left then; with `target_radius` the most; null if unknown",
        examples=[31.0],
    )
    ends_at: datetime | None = Field(description="the time of both together; null if one is unknown")
    reason: str | None = Field(description="why one of them is null, or only a lower bound", examples=[None])


class JobView(BaseModel):
    """One job. `result` belongs to `succeeded`, `error` to `failed`."""

    id: str = Field(examples=[_ID])
    status: Status
    progress: Progress | TuningProgress
    request: Annotated[SpelledCertifyRequest | TuningRequest, Field(discriminator="kind")] = Field(
        description="the request with every default filled in; `kind` says whether it certifies or tunes"
    )
    warnings: list[ImageRemark] = Field(
        description="what a reader must know about the image before any radius, `running_radius` too; empty until the "
        "image is decoded, and for a tuning"
    )
    result: CertificationResult | TuningResult | None
    error: ProblemBody | None
    reference: str | None = Field(None, description="the sender's own note; nothing else repeats it")
    estimate: Estimate | None = Field(description="until the job has ended; null then")
    links: Links
    created_at: datetime
    updated_at: datetime


class JobPage(BaseModel):
    """Jobs, newest first; `next` is the cursor of the page after this one."""

    jobs: list[JobView]
    next: str | None


def job_path(job_id: str) -> str:
    """Returns the address of a job."""
    return f"/jobs/{job_id}"


def job_view(record: JobRecord, expected: ExpectedTimes | None, *, clock: Callable[[], float] = time.time) -> JobView:
    """Returns the record in the form that a client receives.

    Args:
        record: The record.
        expected: What the job can expect; None once it has ended.
        clock: Seconds since 1970.
    """
    path = job_path(record.id)
    error = problem(record.error.code, record.error.detail, instance=path) if record.error else None
    return JobView(
        id=record.id,
        status=record.status,
        progress=_progress(record),
        request=spell(record.request),
        warnings=_warnings(record),
        result=record.result,
        error=ProblemBody.model_validate(error) if error else None,
        reference=record.submission.reference,
        estimate=None if record.ended or expected is None else _estimate(expected, clock()),
        links=Links(
            self=path,
            events=f"{path}/events",
            certificate=f"/certificates/{record.certificate}" if record.certificate else None,
            **{kind: f"{path}/{_PLACE[kind]}" if _is_made(record, kind) else None for kind in OUTPUTS},
        ),
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
    )


def _estimate(expected: ExpectedTimes, now: float) -> Estimate:
    wait, run = (None if seconds is None else round(seconds, 1) for seconds in (expected.wait, expected.run))
    ends_at = None if expected.total is None else moment(now + expected.total)
    return Estimate(wait_seconds=wait, run_seconds=run, ends_at=ends_at, reason=expected.reason)


def _is_made(record: JobRecord, kind: OutputKind) -> bool:
    """Returns whether a report was made; it may have expired since."""
    return kind in record.outputs and record.outputs[kind] is None


def _warnings(record: JobRecord) -> list[ImageRemark]:
    codes = record.image.warnings if isinstance(record.image, ImageRecord) else ()
    return [ImageRemark(code=code, message=IMAGE_WARNINGS[code]) for code in codes]


def _progress(record: JobRecord) -> Progress | TuningProgress:
    now = record.progress
    if isinstance(now, SamplesDone):
        progress = Progress(phase=record.phase, samples_done=now.samples_done, samples_total=now.samples_total)
        if now.running_radius is not None:
            progress.running_radius = now.running_radius
        if now.running_bound is not None and not record.ended:
            progress.running_bound = now.running_bound
        return progress
    tuning = TuningProgress(
        phase=record.phase, epochs_done=now.epochs_done, epochs_total=now.epochs_total, loss=now.loss
    )
    if record.phase in _BY_IMAGES:
        tuning.images_done, tuning.images_total = now.images_done, now.images_total
    return tuning


def moment(seconds: float) -> datetime:
    """Returns the time that is so many seconds after 1970."""
    return datetime.fromtimestamp(seconds, UTC)
