"""The routes by which a PACS or a router pushes images: a STOW-RS receiver (PS3.18, 10.5)."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.responses import JSONResponse

from certrad.app.api.audit import note
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.instances_body import INSTANCE, MULTIPART, InstancesBody, Part, read_content_type
from certrad.app.api.negotiation import preferred
from certrad.app.api.problems import problem_responses
from certrad.app.api.secret import CODES, require_secret
from certrad.models.errors import Rejected
from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.contract.triggers import UID_LENGTH, UID_PATTERN

PATH: Final = "/dicom-web/studies"
_JSON: Final = "application/dicom+json"
_CLASS: Final = "00081150"
_INSTANCE: Final = "00081155"
_REASON: Final = "00081197"
_FAILED: Final = "00081198"
_STORED: Final = "00081199"
_OTHERS: Final = "0008119A"

Accept = Annotated[str | None, Header(description="`application/dicom+json`, or what includes it")]
StudyUid = Annotated[str, Path(pattern=UID_PATTERN, max_length=UID_LENGTH)]

router = APIRouter(prefix=PATH, tags=["PACS"], dependencies=[Depends(require_secret)])

_ANSWER: Final = {_JSON: {"schema": {"type": "object"}}}
_DESCRIBED: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {
        200: {"description": "All instances are stored; (0008,1199) lists them.", "content": _ANSWER},
        202: {"description": "Some are stored; (0008,1198) lists those that are not.", "content": _ANSWER},
        409: {"description": "None is stored; (0008,1198) says why.", "content": _ANSWER},
        **problem_responses(
            *CODES,
            "invalid_multipart",
            "unsupported_media_type",
            "not_acceptable",
            "invalid_request",
            "body_too_large",
            "request_timeout",
            "foreign_origin",
            "queue_full",
            "too_many_connections",
            "storage_unavailable",
        ),
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                MULTIPART: {"schema": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                INSTANCE: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
}


@router.post("", operation_id="store_instances", summary="Push images (STOW-RS)", **_DESCRIBED)
async def store_instances(request: Request, services: ServicesDep, accept: Accept = None) -> JSONResponse:
    """Stores DICOM files on the disk and answers; the connector certifies those that a rule selects."""
    return await _store(request, services, accept, study=None)


@router.post("/{study}", operation_id="store_instances_of_study", summary="Push images of one study", **_DESCRIBED)
async def store_instances_of_study(
    request: Request, services: ServicesDep, study: StudyUid, accept: Accept = None
) -> JSONResponse:
    """Stores DICOM files as above; the connector leaves those alone that belong to another study."""
    return await _store(request, services, accept, study=study)


async def _store(request: Request, services: Services, accept: str | None, *, study: str | None) -> JSONResponse:
    preferred(accept, [_JSON])
    media_type, boundary = read_content_type(request.headers.get("content-type", ""))
    settings = services.settings
    spool = ReceivedSpool(settings.pacs_dir)
    receiving = spool.receive(study, min_free_bytes=settings.min_free_bytes)
    async with contextmanager_in_threadpool(receiving) as received:
        body = InstancesBody(received, max_bytes=settings.max_body_bytes)
        await body.receive(request, media_type, boundary)
        if not any(part.size for part in body.parts):
            raise Rejected("invalid_multipart", "the body holds no instance")
    stored = sum(part.failure is None for part in body.parts)
    note(request, stored=str(stored), failed=str(len(body.parts) - stored))
    status = 200 if stored == len(body.parts) else 202 if stored else 409
    return JSONResponse(answer(body.parts), status_code=status, media_type=_JSON)


def answer(parts: list[Part]) -> dict[str, Any]:
    """Returns the response of PS3.18 to a store, in the DICOM JSON model.

    Args:
        parts: What was sent.
    """
    stored = [_reference(part) for part in parts if part.failure is None]
    failed = [_reference(part) | _reason(part) for part in parts if part.failure is not None and part.identity]
    others = [_reason(part) for part in parts if part.failure is not None and part.identity is None]
    sequences = {_FAILED: failed, _STORED: stored, _OTHERS: others}
    return {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def _reference(part: Part) -> dict[str, Any]:
    if part.identity is None:
        return {}
    named = {_CLASS: part.identity.sop_class, _INSTANCE: part.identity.sop_instance}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in named.items() if uid}


def _reason(part: Part) -> dict[str, Any]:
    return {_REASON: {"vr": "US", "Value": [part.failure]}}
