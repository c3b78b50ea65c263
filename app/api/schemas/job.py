"""Jobs as the API shows them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from certrad.app.api.problems import ProblemBody, problem
from certrad.models.types import Bound, CertifyRequest, Decision, PromptCard, Scope
from certrad.models.types.tuning import TuningRequest
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import Phase, Status
from certrad.workers.contract.progress import Sampling

_ID = "0f8fad5bd9cb469fa16570867728950e"
_BY_IMAGES: Final[frozenset[Phase]] = frozenset({"unpacking", "attacking"})


class Progress(BaseModel):
    """How far a certification is; samples are those of selection and estimation, at most `samples_total`."""

    phase: Phase
    samples_done: int = Field(examples=[4196])
    samples_total: int = Field(examples=[10100])
    running_radius: float | None = Field(
        None,
        description="only with `target_radius`: the radius shown so far; with probability at least 1 - alpha it is "
        "never above the true one",
    )


class TuningProgress(BaseModel):
    """How far a tuning is."""

    phase: Phase
    epochs_done: int = Field(examples=[12])
    epochs_total: int = Field(examples=[50])
    loss: float | None = Field(None, description="mean over the last epoch done", examples=[0.4127])
    images_done: int | None = Field(None, description="images decoded or attacked; only in `unpacking` and `attacking`")
    images_total: int | None = None


class Result(BaseModel):
    """What certification found. A certificate says nothing about whether the class is right."""

    model_config = ConfigDict(extra="allow")

    outcome: Literal["certified", "abstained"]
    label: str | None = Field(
        None, description="the certified class; absent in an abstention", examples=["chest X-ray"]
    )
    class_index: int | None = Field(None, examples=[2])
    radius: float | None = Field(
        None,
        description="no change of the model input (pixels in [0, 1]) of smaller L2 norm changes the class",
        examples=[0.5513],
    )
    target_reached: bool | None = Field(
        None, description="whether the radius is at least `target_radius`; only in a certificate that was asked for one"
    )
    reason: str | None = Field(None, description="why there is no class; only in an abstention")
    scope: Scope
    scope_text: str = Field(description="the scope in words; to be shown wherever the radius is")
    sigma: float = Field(description="of the selected route where `auto` was asked for", examples=[0.25])
    alpha: float = Field(examples=[0.001])
    n0: int = Field(examples=[100])
    n: int = Field(examples=[10000])
    bound: Bound
    target_radius: float | None = None
    decision: Decision = Field(Decision(), description="the rule that decided, and when it could look at the samples")
    samples_used: int = Field(description="selection and estimation samples together", examples=[10100])
    p_a_lower: float = Field(examples=[0.986321])
    p_b_upper: float = Field(examples=[0.011873])
    counts: list[int] = Field(description="estimation samples per class", examples=[[3, 0, 9901, 90, 0, 6]])
    invalid: int = Field(description="samples without finite logits")
    class_names: list[str]
    prompt: str
    adaptation: Literal["none", "zero_shot", "gated"]
    backbone: str
    pixels_sha256: str
    input_sha256: str
    radius_in_image_units: dict[str, Any] | None = Field(
        None, description="the radius on the picture that was sent, in its own units; or `value` null and the `reason`"
    )
    routing: dict[str, Any] | None = Field(
        None, description="only with `sigma=auto`: the selected route, and what each outcome limits the radius to"
    )
    warnings: list[str]
    provenance: dict[str, Any]
    timing: dict[str, float]


class TuningResult(BaseModel):
    """What a tuning made: a prompt that POST /certify takes at once."""

    prompt: str = Field(description="its id", examples=["mednist-few-shot-c3fd994275dfb3bb"])
    card: PromptCard


class Links(BaseModel):
    """Where else to look."""

    self: str = Field(examples=[f"/jobs/{_ID}"])
    events: str = Field(examples=[f"/jobs/{_ID}/events"])
    certificate: str | None = Field(description="the certificate document, once there is one")


class JobView(BaseModel):
    """One job. `result` belongs to `succeeded`, `error` to `failed`."""

    id: str = Field(examples=[_ID])
    status: Status
    progress: Progress | TuningProgress
    request: Annotated[CertifyRequest | TuningRequest, Field(discriminator="kind")] = Field(
        description="the request with every default filled in; `kind` says whether it certifies or tunes"
    )
    result: Result | TuningResult | None
    error: ProblemBody | None
    links: Links
    created_at: datetime
    updated_at: datetime


class JobPage(BaseModel):
    """Jobs, newest first; `next` is the cursor of the page after this one."""

    jobs: list[JobView]
    next: str | None


def job_path(job_id: str) -> str:
    """The address of a job."""
    return f"/jobs/{job_id}"


def job_view(record: JobRecord) -> JobView:
    """The record as a client sees it."""
    path = job_path(record.id)
    error = problem(record.error["code"], record.error["detail"], instance=path) if record.error else None
    return JobView(
        id=record.id,
        status=record.status,
        progress=_progress(record),
        request=record.request,
        result=_result(record),
        error=ProblemBody.model_validate(error) if error else None,
        links=Links(
            self=path,
            events=f"{path}/events",
            certificate=f"/certificates/{record.certificate}" if record.certificate else None,
        ),
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
    )


def _progress(record: JobRecord) -> Progress | TuningProgress:
    now = record.progress
    if isinstance(now, Sampling):
        progress = Progress(phase=record.phase, samples_done=now.samples_done, samples_total=now.samples_total)
        if now.running_radius is not None:
            progress.running_radius = now.running_radius
        return progress
    tuning = TuningProgress(
        phase=record.phase, epochs_done=now.epochs_done, epochs_total=now.epochs_total, loss=now.loss
    )
    if record.phase in _BY_IMAGES:
        tuning.images_done, tuning.images_total = now.images_done, now.images_total
    return tuning


def _result(record: JobRecord) -> Result | TuningResult | None:
    if record.result is None:
        return None
    kind = TuningResult if isinstance(record.request, TuningRequest) else Result
    return kind.model_validate(record.result)


def moment(seconds: float) -> datetime:
    """Returns a time that is kept as seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
