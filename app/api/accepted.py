"""The answer that names a job, at once or once it has ended."""

import re
from typing import Annotated, Any, Final

from fastapi import Header, Response
from fastapi.concurrency import run_in_threadpool

from certrad.app.api import events
from certrad.app.api.dependencies import Services
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.job import JobView, job_path, job_view
from certrad.workers.contract.job import JobRecord

_POLL_SECONDS: Final = 1


_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")


_ACCEPTED: Final = {
    "description": "The job; poll `Location`, or follow `links.events`.",
    "headers": {
        "Location": {"schema": {"type": "string"}, "description": "the job"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait before polling"},
    },
}


IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="the same key and request find the same job")
]


Prefer = Annotated[str | None, Header(description="`wait=N` holds the answer until the job ends, N <= 30 s")]


def job_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that brings a file and answers with its job; codes: problems of its own."""
    return {
        200: {"model": JobView, "description": "The job has ended within `Prefer: wait=N`."},
        202: _ACCEPTED,
        **problem_responses(
            "invalid_request",
            "unknown_field",
            "unknown_task",
            "unknown_backbone",
            "idempotency_conflict",
            *codes,
            "body_too_large",
            "queue_full",
            "storage_unavailable",
        ),
    }


async def answer(services: Services, job_id: str, prefer: str | None, response: Response) -> JobView:
    """The job, after the time the client prefers to wait for its end: 202 with `Location`, or 200 once it has ended."""
    record = await _wait(services, job_id, prefer, response)
    path = job_path(record.id)
    response.headers["Location"] = response.headers["Content-Location"] = path
    response.status_code = 200 if record.ended else 202
    if not record.ended:
        response.headers["Retry-After"] = str(_POLL_SECONDS)
    return job_view(record)


async def _wait(services: Services, job_id: str, prefer: str | None, response: Response) -> JobRecord:
    wish = _WAIT.search(prefer or "")
    if wish is not None:
        seconds = min(float(wish[1]), services.settings.max_wait)
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
        await events.wait_end(services.async_redis, job_id, seconds=seconds)
    return await run_in_threadpool(services.jobs.read, job_id)
