"""POST /prompts."""

from typing import Any, BinaryIO, Final

from fastapi import APIRouter, Request

from certrad.app.api.accepted import AcceptanceDep, job_responses
from certrad.app.api.dependencies import Services
from certrad.app.api.engines import require_backbone
from certrad.app.api.multipart import form_content, is_form, read_form
from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.job import JobView
from certrad.app.api.schemas.tune import TuningForm, parse
from certrad.app.api.tuning_defaults import resolve
from certrad.models.errors import Rejected
from certrad.workers.contract.formats import ZIP_SIGNATURE
from certrad.workers.contract.job import Created
from certrad.workers.contract.submission import Submission

PATH: Final = "/prompts"

router = APIRouter(tags=["prompts"])

_FORM: Final[dict[str, Any]] = TuningForm.model_json_schema()
_ARCHIVE: Final = {
    "type": "string",
    "contentMediaType": "application/zip",
    "description": "a zip with one folder of images for each class",
}


@router.post(
    PATH,
    operation_id="tune_prompt",
    summary="Tune a prompt",
    status_code=202,
    response_model=JobView,
    response_model_exclude_unset=True,
    responses=job_responses("invalid_archive"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": form_content("images", _ARCHIVE, _FORM),
        },
    },
)
async def tune_prompt(
    request: Request,
    acceptance: AcceptanceDep,
) -> JobView:
    """Submits labelled images, one folder for each class, and returns the job that tunes a prompt on them.

    The job's result names the prompt, which POST /certify accepts at once. The service reads file names and never keeps
    them; an error about one file names its path in the archive.
    """
    if not is_form(request):
        raise InvalidRequest({"images": "must be sent exactly once, as a file part of a multipart form"})
    async with read_form(request, "images") as (part, fields):
        fields += request.query_params.multi_items()
        created = await acceptance.submit(_submit, part.file, fields)
    return await acceptance.answer(created)


def _submit(
    services: Services,
    archive: BinaryIO,
    fields: list[tuple[str, str]],
    submission: Submission,
    idempotency: str | None,
) -> Created:
    form = parse(fields)
    submission = form.of(submission, services.settings)
    request = resolve(form, services.catalogue.seen_by(submission.tenant), services.settings)
    signature = archive.read(len(ZIP_SIGNATURE))
    archive.seek(0)
    if signature != ZIP_SIGNATURE:
        raise Rejected("invalid_archive", "the archive must be a zip; its first bytes are not those of one")
    require_backbone(services, request.backbone)
    return services.jobs.submit(archive, request, submission, idempotency=idempotency)
