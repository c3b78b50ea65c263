"""The routes of what is drawn beside a certificate: an example, radius against samples, and other renderings."""

from typing import Any

from fastapi import APIRouter, Response

from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.figures import read_figure
from certrad.app.api.problems import problem_responses
from certrad.models.types.figures import RadiusCurve, RadiusExample, RenderingImages

router = APIRouter(prefix="/jobs", tags=["jobs"])

_JSON = "application/json"


def _responses(model: type, description: str, *codes: str) -> dict[int | str, dict[str, Any]]:
    shared = problem_responses(
        "job_not_found", "job_unreadable", "job_not_finished", "output_expired", "invalid_request", *codes
    )
    return {200: {"model": model, "description": description}, **shared}


@router.get(
    "/{job_id}/example",
    operation_id="get_job_example",
    summary="See what the radius means",
    response_class=Response,
    responses=_responses(
        RadiusExample,
        "One image within the certified radius, as its difference from the model input of `GET /jobs/{job_id}/input`: "
        "one example towards the runner-up, not the worst case, and no part of the certificate. It is kept for "
        "`CERTRAD_OUTPUT_TTL` after the job ends.",
        "job_has_no_example",
    ),
)
def get_job_example(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Returns a change of the model input whose L2 norm is the certified radius."""
    return Response(
        read_figure(services.jobs, services.settings.outputs_dir, job_id, caller.tenant, "example"), media_type=_JSON
    )


@router.get(
    "/{job_id}/curve",
    operation_id="get_job_curve",
    summary="See the radius against the samples",
    response_class=Response,
    responses=_responses(
        RadiusCurve,
        "Bounds and radius after about 40 numbers of samples. At a fixed `n` a point says what a run planned with so "
        "many samples would have shown: each is valid alone, and not all of them at once. Only the last one is the "
        "certificate's. It is kept for `CERTRAD_OUTPUT_TTL` after the job ends.",
        "job_has_no_curve",
    ),
)
def get_job_curve(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Returns bounds and radius after about 40 numbers of samples, the last of which is the certificate's."""
    return Response(
        read_figure(services.jobs, services.settings.outputs_dir, job_id, caller.tenant, "curve"), media_type=_JSON
    )


@router.get(
    "/{job_id}/renderings",
    operation_id="get_job_renderings",
    summary="See other renderings of the file",
    response_class=Response,
    responses=_responses(
        RenderingImages,
        "What the model saw of each of the `variants`, as images of 8 bits in the order of the rows of the result: the "
        "counterexample is among them. They are no part of the certificate, and are kept for `CERTRAD_OUTPUT_TTL` "
        "after the job ends.",
        "job_has_no_renderings",
    ),
)
def get_job_renderings(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Returns images of the other renderings of the file that were sampled."""
    return Response(
        read_figure(services.jobs, services.settings.outputs_dir, job_id, caller.tenant, "renderings"), media_type=_JSON
    )
