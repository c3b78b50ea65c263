"""POST /certify."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app import events
from app.defaults import resolve
from app.dependencies import Services, ServicesDep
from app.forms import CertifyForm, parse
from app.problems import InvalidRequest, problem_responses
from app.views import JobView, job_path, job_view
from models.errors import Rejected
from workers.contract.formats import SNIFFED_BYTES, sniff
from workers.contract.records import Created, JobRecord

router = APIRouter(tags=["certify"])

_POLL_SECONDS: Final = 1
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")
_FIELD_BYTES: Final = 256 * 1024
_IMAGE: Final = {
    "type": "string",
    "contentMediaType": "application/octet-stream",
    "description": "PNG, JPEG, TIFF or DICOM",
}
_FORM: Final = CertifyForm.model_json_schema()
_ACCEPTED: Final = {
    "description": "The job; poll `Location`, or follow `links.events`.",
    "headers": {
        "Location": {"schema": {"type": "string"}, "description": "the job"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait before polling"},
    },
}


@router.post(
    "/certify",
    operation_id="certify",
    summary="Certify an image",
    status_code=202,
    response_model=JobView,
    response_model_exclude_unset=True,
    responses={
        200: {"model": JobView, "description": "The job has ended within `Prefer: wait=N`."},
        202: _ACCEPTED,
        **problem_responses(
            "invalid_request",
            "unknown_field",
            "unknown_task",
            "unknown_backbone",
            "unknown_prompt",
            "prompt_mismatch",
            "idempotency_conflict",
            "empty_image",
            "body_too_large",
            "unsupported_format",
            "queue_full",
            "storage_unavailable",
        ),
    },
    openapi_extra={
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": schema,
                "description": "As in the form; for raw bodies.",
            }
            for name, schema in _FORM["properties"].items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"image": _IMAGE, **_FORM["properties"]},
                        "required": ["image"],
                        "additionalProperties": False,
                    }
                },
                "application/octet-stream": {"schema": _IMAGE},
            },
        },
    },
)
async def certify(
    request: Request,
    response: Response,
    services: ServicesDep,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="the same key and request find the same job")
    ] = None,
    prefer: Annotated[str | None, Header(description="`wait=N` holds the answer until the job ends, N <= 30 s")] = None,
) -> JobView:
    """Submits an image, as a form or as the raw body with the fields in the query, and answers with its job.

    The kind of the image is decided by its bytes; declared types and file names are ignored and never kept.
    """
    image, fields = await _read(request)
    created = await run_in_threadpool(_submit, services, image, fields, idempotency_key)
    record = await _wait(services, created.job_id, prefer, response)
    path = job_path(record.id)
    response.headers["Location"] = response.headers["Content-Location"] = path
    response.status_code = 200 if record.ended else 202
    if not record.ended:
        response.headers["Retry-After"] = str(_POLL_SECONDS)
    return job_view(record)


async def _read(request: Request) -> tuple[bytes, list[tuple[str, str]]]:
    """The image and the fields, from whichever of the two kinds of body it is."""
    fields = list(request.query_params.multi_items())
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return await request.body(), fields
    limits: dict[str, Any] = {
        "max_files": 1,
        "max_fields": len(CertifyForm.model_fields) + 8,
        "max_part_size": _FIELD_BYTES,
    }
    async with request.form(**limits) as form:
        images = form.getlist("image")
        if len(images) != 1 or not isinstance(images[0], UploadFile):
            raise InvalidRequest({"image": "required once, as a file part"})
        for name, value in form.multi_items():
            if name != "image":
                if not isinstance(value, str):
                    raise InvalidRequest({name: "must be a text part"})
                fields.append((name, value))
        return await images[0].read(), fields


def _submit(services: Services, image: bytes, fields: list[tuple[str, str]], idempotency: str | None) -> Created:
    request = resolve(parse(fields), services.catalogue, services.settings)
    if not image:
        raise Rejected("empty_image", "the upload has zero bytes")
    if sniff(image[:SNIFFED_BYTES]) is None:
        raise Rejected("unsupported_format", "the first bytes are those of no PNG, JPEG, TIFF or DICOM file")
    return services.jobs.submit(image, request, idempotency=idempotency)


async def _wait(services: Services, job_id: str, prefer: str | None, response: Response) -> JobRecord:
    """The record, after the time the client prefers to wait for its end."""
    wish = _WAIT.search(prefer or "")
    if wish is not None:
        seconds = min(float(wish[1]), services.settings.max_wait)
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
        await events.wait_end(services.async_redis, job_id, seconds=seconds)
    return await run_in_threadpool(services.jobs.read, job_id)
