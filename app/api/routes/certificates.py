"""Certificate documents, byte for byte as they are stored, and the reports about them."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.entity_tags import not_modified
from certrad.app.api.negotiation import preferred
from certrad.app.api.problems import problem_responses
from certrad.app.api.stored_certificates import require_readable, stored_file
from certrad.workers.contract.certificate_files import CERTIFICATE_FILES, CertificateFile
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.outputs import OUTPUTS, OutputKind

router = APIRouter(tags=["certificates"])

IfNoneMatch = Annotated[str | None, Header(description="ETag of the copy at hand")]
Represent = Callable[[Services, str, JobRecord, str | None], Response]
"""Returns a representation of a certificate, by its SHA-256, the job that ended with it and the client's ETag."""

_TAG: Final = 32  # digits of a report's ETag: one of 64 is the digest of a certificate, also for the audit trail
_BINARY: Final = {"type": "string", "format": "binary"}
_WITHOUT_CERTIFICATE: Final = (
    "job_not_found",
    "job_unreadable",
    "job_not_finished",
    "job_has_no_certificate",
    "invalid_request",
)
_WITHOUT_FILE: Final = ("certificate_not_found", "digest_mismatch", "envelope_not_found", "time_stamp_not_found")
_WITHOUT_OUTPUT: Final = ("no_structured_report", "hospital_extra_missing", "output_failed", "output_expired")


def _stored(kind: CertificateFile) -> Represent:
    return lambda services, certificate, _job, if_none_match: stored_file(
        services.settings.certificates_dir, certificate, kind, if_none_match
    )


def _report(kind: OutputKind) -> Represent:
    return lambda services, _certificate, job, if_none_match: _output(services, job, kind, if_none_match)


_REPRESENTATIONS: Final[Mapping[str, Represent]] = {
    **{each.media_type: _stored(kind) for kind, each in CERTIFICATE_FILES.items()},
    OUTPUTS["structured_report"].media_type: _report("structured_report"),
    OUTPUTS["fhir"].media_type: _report("fhir"),
}
"""The representations of a job's certificate by media type; the first one is for a client that takes any."""


_FILES_BY_MEDIA_TYPE: Final[Mapping[str, CertificateFile]] = {
    each.media_type: kind for kind, each in CERTIFICATE_FILES.items()
}


def _schema(media_type: str) -> dict[str, str]:
    return {"type": "object"} if media_type.endswith("json") else _BINARY


@router.get(
    "/jobs/{job_id}/certificate",
    operation_id="get_job_certificate",
    summary="Read the certificate of a job",
    response_class=Response,
    responses={
        200: {
            "description": "The signed document, an envelope around it, its time stamp, or a report about it. Reports "
            "are kept for `CERTRAD_OUTPUT_TTL` after the job ends; unlike the others they name the patient.",
            "content": {media_type: {"schema": _schema(media_type)} for media_type in _REPRESENTATIONS},
        },
        304: {"description": "`If-None-Match` names this representation."},
        **problem_responses(*_WITHOUT_CERTIFICATE, *_WITHOUT_FILE, *_WITHOUT_OUTPUT, "not_acceptable"),
    },
)
def get_job_certificate(
    job_id: str,
    services: ServicesDep,
    caller: CallerDep,
    accept: Annotated[
        str | None,
        Header(description=f"one of {', '.join(_REPRESENTATIONS)}; without it, or with `*/*`, the signed document"),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Returns the certificate document of a job, or a report about it; an abstention has them too."""
    job, certificate = services.jobs.certified(job_id, caller.tenant)
    media_type = preferred(accept, tuple(_REPRESENTATIONS))
    response = _REPRESENTATIONS[media_type](services, certificate, job, if_none_match)
    response.headers["Vary"] = "Accept"
    return response


@router.get(
    "/jobs/{job_id}/secondary-capture",
    operation_id="get_job_secondary_capture",
    summary="Read the secondary capture of a job",
    response_class=Response,
    responses={
        200: {
            "description": "A DICOM Secondary Capture: the certificate as a page that every viewer shows. It is kept "
            "for `CERTRAD_OUTPUT_TTL` after the job ends.",
            "content": {OUTPUTS["secondary_capture"].media_type: {"schema": _BINARY}},
        },
        304: {"description": "`If-None-Match` names this object."},
        **problem_responses(*_WITHOUT_CERTIFICATE, *_WITHOUT_OUTPUT),
    },
)
def get_job_secondary_capture(
    job_id: str, services: ServicesDep, caller: CallerDep, if_none_match: IfNoneMatch = None
) -> Response:
    """Returns the secondary capture about the certificate of a job; an abstention has one too."""
    job, _ = services.jobs.certified(job_id, caller.tenant)
    return _output(services, job, "secondary_capture", if_none_match)


@router.get(
    "/certificates/{sha256}",
    operation_id="get_certificate",
    summary="Read a certificate",
    response_class=Response,
    responses={
        200: {
            "description": "; ".join(f"`{each.media_type}`: {each.description}" for each in CERTIFICATE_FILES.values()),
            "content": {media_type: {"schema": _schema(media_type)} for media_type in _FILES_BY_MEDIA_TYPE},
        },
        304: {"description": "`If-None-Match` names this representation."},
        **problem_responses(*_WITHOUT_FILE, "not_acceptable", "invalid_request"),
    },
)
def get_certificate(
    sha256: str,
    services: ServicesDep,
    caller: CallerDep,
    accept: Annotated[
        str | None,
        Header(description=f"one of {', '.join(_FILES_BY_MEDIA_TYPE)}; without it, or with `*/*`, the signed document"),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Returns the certificate document with this SHA-256, an envelope around it, or its time stamp."""
    require_readable(services, sha256, caller.tenant)
    kind = _FILES_BY_MEDIA_TYPE[preferred(accept, tuple(_FILES_BY_MEDIA_TYPE))]
    response = stored_file(services.settings.certificates_dir, sha256, kind, if_none_match)
    response.headers["Vary"] = "Accept"
    return response


def _output(services: Services, job: JobRecord, kind: OutputKind, if_none_match: str | None) -> Response:
    content = services.jobs.output(job, kind)
    tag = f'"{hashlib.sha256(content).hexdigest()[:_TAG]}"'
    headers = {"ETag": tag}
    if not_modified(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=OUTPUTS[kind].media_type, headers=headers)
