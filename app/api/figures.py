"""What is drawn beside a certificate, as the API reads it."""

from pathlib import Path
from typing import Final

from certrad.app.api.jobs import Jobs
from certrad.models.errors import Rejected
from certrad.models.types.figures import Figure
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.workers.contract import figures
from certrad.workers.contract.job import JobRecord

_WITHOUT: Final[dict[Figure, str]] = {
    "example": "job_has_no_example",
    "curve": "job_has_no_curve",
    "renderings": "job_has_no_renderings",
}
_LEFT_OUT: Final[dict[Figure, str]] = {
    "example": "the engine left the example out; the certificate does not need it",
    "curve": "the selection samples chose no class, so that there is no probability to bound",
    "renderings": "no other rendering was sampled, or the engine left their images out; the certificate names each of "
    "them by its digest",
}


def read_figure(jobs: Jobs, outputs_dir: Path, job_id: str, tenant: str, figure: Figure) -> bytes:
    """Returns what is drawn beside the certificate of a job, as JSON.

    Args:
        jobs: The jobs.
        outputs_dir: The folder of outputs.
        job_id: The id as the client gave it.
        tenant: The tenant that asks.
        figure: The name of the figure.

    Raises:
        Rejected: job_not_found, job_unreadable, job_not_finished, job_has_no_example, job_has_no_curve,
            job_has_no_renderings, output_expired.
    """
    record = jobs.read(job_id, tenant)
    if not record.ended:
        raise Rejected("job_not_finished", f"the job is {record.status} in phase {record.phase}")
    if reason := _why_without(record, figure):
        raise Rejected(_WITHOUT[figure], reason)
    content = jobs.unexpired(record, lambda: figures.read(outputs_dir, job_id, figure))
    if not content:
        raise Rejected(_WITHOUT[figure], _LEFT_OUT[figure])
    return content


def _why_without(record: JobRecord, figure: Figure) -> str | None:
    """Returns why an ended job has no such figure; None where it may have one."""
    if not isinstance(record.result, CertifiedResult | AbstainedResult):
        return "the job ended without a certificate"
    if figure == "example" and isinstance(record.result, AbstainedResult):
        return "an abstention has no radius that an example could show"
    if figure == "curve" and record.result.routing is not None:
        return "with `sigma=auto` the radius rests on several runs of samples, and not on one number of them"
    if figure == "renderings" and record.result.variants is None:
        return "the request named no `variants`"
    return None
