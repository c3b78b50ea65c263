"""Certificate documents, byte for byte as they are stored."""

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response

from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.stored_certificates import read_certificate
from certrad.models.errors import Rejected

_ENDED: Final = {"succeeded": "tuned a prompt", "failed": "failed", "cancelled": "was cancelled"}

router = APIRouter(tags=["certificates"])

_DOCUMENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The signed document: canonical JSON, whose SHA-256 is its address.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
    304: {"description": "`If-None-Match` names this document."},
}
IfNoneMatch = Annotated[str | None, Header(description="ETag of the copy at hand")]


@router.get(
    "/jobs/{job_id}/certificate",
    operation_id="get_job_certificate",
    summary="Read the certificate of a job",
    response_class=Response,
    responses={
        **_DOCUMENT,
        **problem_responses(
            "job_not_found",
            "job_unreadable",
            "job_not_finished",
            "job_has_no_certificate",
            "certificate_not_found",
            "digest_mismatch",
            "invalid_request",
        ),
    },
)
def get_job_certificate(job_id: str, services: ServicesDep, if_none_match: IfNoneMatch = None) -> Response:
    """Returns the certificate document of a job; an abstention has one too."""
    record = services.jobs.read(job_id)
    if not record.ended:
        raise Rejected("job_not_finished", f"the job is {record.status}")
    if record.certificate is None:
        raise Rejected("job_has_no_certificate", f"the job {_ENDED[record.status]}")
    return _document(services.settings.certificates_dir, record.certificate, if_none_match)


@router.get(
    "/certificates/{sha256}",
    operation_id="get_certificate",
    summary="Read a certificate",
    response_class=Response,
    responses={**_DOCUMENT, **problem_responses("certificate_not_found", "digest_mismatch", "invalid_request")},
)
def get_certificate(sha256: str, services: ServicesDep, if_none_match: IfNoneMatch = None) -> Response:
    """Returns the certificate document with this SHA-256."""
    return _document(services.settings.certificates_dir, sha256, if_none_match)


def _document(directory: Path, sha256: str, if_none_match: str | None) -> Response:
    content = read_certificate(directory, sha256)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache"}
    if sha256 in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)
