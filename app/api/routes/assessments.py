"""A reader's assessment of a certificate: accepted, rejected or amended, with a coded reason."""

import hashlib
from datetime import datetime
from typing import Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from certrad.app.api.accepted import IdempotencyKey
from certrad.app.api.audit import note
from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import InvalidRequest, problem_responses
from certrad.app.api.schemas.job import moment
from certrad.app.api.stored_certificates import read_certificate, require_readable
from certrad.models.errors import Rejected
from certrad.workers.contract.assessments import (
    REASONS,
    Assessment,
    ConflictError,
    Outcome,
    ReasonCode,
    Subject,
    Verdict,
    subject_of,
)

router = APIRouter(tags=["assessments"])

_PATH = "/certificates/{sha256}/assessment"


class AssessmentForm(BaseModel):
    """What a reader says about a result. There is no field for words, so that nothing about a patient gets in."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict = Field(description="what the reader does with the result")
    reason: ReasonCode = Field(description="why; GET lists the reasons with their meanings", examples=["agrees"])
    job: str | None = Field(
        None, max_length=64, description="id of the job, whose task the assessment is then counted under"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allowed = REASONS[self.reason].verdicts
        if self.verdict not in allowed:
            raise ValueError(f"{self.reason} is no reason to {self.verdict}; it fits {' and '.join(allowed)}")
        return self


class AssessmentView(BaseModel):
    """One assessment."""

    certificate: str = Field(description="SHA-256 of the certificate")
    outcome: Outcome = Field(description="what the certificate says: a class, or an abstention")
    verdict: Verdict
    reason: ReasonCode
    task: str | None = Field(description="task of the job, if the reader named it")
    recorded_at: datetime


class ReasonView(BaseModel):
    """A reason that an assessment can have."""

    code: ReasonCode
    meaning: str
    verdicts: list[Verdict] = Field(description="the verdicts it goes with")
    outcomes: list[Outcome] = Field(description="the outcomes of a certificate it goes with")


class AssessmentsView(BaseModel):
    """The assessments of a certificate, oldest first, and the reasons that a new one can have."""

    assessments: list[AssessmentView] = Field(description="the last one counts; all stay")
    reasons: list[ReasonView]


@router.post(
    _PATH,
    operation_id="record_assessment",
    summary="Assess a certificate",
    status_code=201,
    responses=problem_responses(
        "certificate_not_found",
        "digest_mismatch",
        "job_not_found",
        "job_unreadable",
        "invalid_request",
        "unknown_field",
        "idempotency_conflict",
        "body_too_large",
        "foreign_origin",
        "storage_unavailable",
    ),
)
def record_assessment(
    sha256: str,
    form: AssessmentForm,
    services: ServicesDep,
    caller: CallerDep,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> AssessmentView:
    """Keeps what a reader says about a certificate: it was accepted, rejected or amended.

    The latest assessment of a certificate counts, and all stay. The same Idempotency-Key and assessment are kept once.
    """
    require_readable(services, sha256, caller.tenant)
    subject = _subject(services, sha256)
    if subject.outcome not in (allowed := REASONS[form.reason].outcomes):
        of_what = " and ".join(allowed)
        raise InvalidRequest({"reason": f"{form.reason} fits {of_what} images; this one is {subject.outcome}"})
    task = None if form.job is None else _task(services, form.job, caller.tenant, sha256)
    try:
        made = services.assessments.record(
            sha256,
            subject,
            verdict=form.verdict,
            reason=form.reason,
            job=form.job,
            task=task,
            key_sha256=hashlib.sha256(idempotency_key.encode()).hexdigest() if idempotency_key else None,
            tenant=caller.tenant,
        )
    except ConflictError:
        raise Rejected("idempotency_conflict", "the key belongs to another assessment") from None
    except OSError as error:
        raise Rejected("storage_unavailable", f"the assessment was not stored: {error.strerror}") from error
    note(request, verdict=made.verdict, reason=made.reason, **({"job": made.job} if made.job else {}))
    return _view(made)


@router.get(
    _PATH,
    operation_id="list_assessments",
    summary="Read the assessments of a certificate",
    responses=problem_responses("certificate_not_found", "digest_mismatch", "invalid_request"),
)
def list_assessments(sha256: str, services: ServicesDep, caller: CallerDep) -> AssessmentsView:
    """Returns every assessment of a certificate by the tenant, and the reasons that a new one can have."""
    require_readable(services, sha256, caller.tenant)
    read_certificate(services.settings.certificates_dir, sha256)
    return AssessmentsView(
        assessments=[_view(made) for made in services.assessments.of(sha256, caller.tenant)],
        reasons=[
            ReasonView(
                code=code, meaning=reason.meaning, verdicts=list(reason.verdicts), outcomes=list(reason.outcomes)
            )
            for code, reason in REASONS.items()
        ],
    )


def _subject(services: Services, sha256: str) -> Subject:
    document = read_certificate(services.settings.certificates_dir, sha256)
    try:
        return subject_of(document)
    except ValueError:
        raise Rejected("certificate_not_found", "the stored document is of no schema that this version knows") from None


def _task(services: Services, job_id: str, tenant: str, sha256: str) -> str | None:
    record = services.jobs.read(job_id, tenant)
    if record.certificate != sha256:
        raise InvalidRequest({"job": "the job has another certificate, or none"})
    return record.request.task


def _view(made: Assessment) -> AssessmentView:
    return AssessmentView(
        certificate=made.certificate,
        outcome=made.outcome,
        verdict=made.verdict,
        reason=made.reason,
        task=made.task,
        recorded_at=moment(made.at),
    )
