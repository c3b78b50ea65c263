"""POST /certify."""

import time
from dataclasses import replace
from typing import BinaryIO, Final

from fastapi import APIRouter, Request

from certrad.app.api.accepted import AcceptanceDep, job_responses
from certrad.app.api.defaults import resolve
from certrad.app.api.dependencies import Services
from certrad.app.api.engines import require_backbone
from certrad.app.api.multipart import form_content, is_form, read_form
from certrad.app.api.raw_body import read_raw
from certrad.app.api.schemas.certify import CertifyForm, parse
from certrad.app.api.schemas.job import JobView
from certrad.models.errors import Rejected
from certrad.workers.contract.formats import SNIFFED_BYTES, sniff
from certrad.workers.contract.job import Created
from certrad.workers.contract.submission import Submission

PATH: Final = "/certify"

router = APIRouter(tags=["certify"])

_IMAGE: Final = {
    "type": "string",
    "contentMediaType": "application/octet-stream",
    "description": "PNG, JPEG, TIFF or DICOM",
}
_FORM: Final = CertifyForm.model_json_schema()


@router.post(
    PATH,
    operation_id="certify",
    summary="Certify an image",
    status_code=202,
    response_model=JobView,
    response_model_exclude_unset=True,
    responses=job_responses(
        "deadline_unattainable",
        "unknown_prompt",
        "unknown_window",
        "calibration_not_found",
        "calibration_mismatch",
        "prompt_mismatch",
        "sigma_not_tuned",
        "adapter_not_found",
        "adapter_mismatch",
        "empty_image",
        "unsupported_format",
    ),
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
            "content": {**form_content("image", _IMAGE, _FORM), "application/octet-stream": {"schema": _IMAGE}},
        },
    },
)
async def certify(
    request: Request,
    acceptance: AcceptanceDep,
) -> JobView:
    """Submits an image, as a form or as the raw body with the fields in the query, and returns its job.

    The service detects the format from the first bytes of the image. It ignores declared types and file names, and
    never keeps them.
    """
    fields = request.query_params.multi_items()
    if is_form(request):
        async with read_form(request, "image") as (part, in_form):
            created = await acceptance.submit(_submit, part.file, fields + in_form)
    else:
        async with read_raw(request) as image:
            created = await acceptance.submit(_submit, image, fields)
    return await acceptance.answer(created)


def _submit(
    services: Services,
    image: BinaryIO,
    fields: list[tuple[str, str]],
    submission: Submission,
    idempotency: str | None,
) -> Created:
    form = parse(fields)
    submission = form.of(submission, services.settings)
    request = resolve(form, services.catalogue.seen_by(submission.tenant), services.settings)
    start = image.read(SNIFFED_BYTES)
    image.seek(0)
    if not start:
        raise Rejected("empty_image", "the upload has zero bytes")
    if sniff(start) is None:
        raise Rejected(
            "unsupported_format",
            "the image must be PNG, JPEG, TIFF or DICOM; its first bytes are those of none of them",
        )
    require_backbone(services, request.classifier.backbone)
    if form.deadline is not None:
        if not services.jobs.knows(submission.tenant, idempotency):
            services.estimates.require_within(form.deadline, request, submission)
        submission = replace(submission, deadline_at=time.time() + form.deadline)
    return services.jobs.submit(image, request, submission, idempotency=idempotency)
