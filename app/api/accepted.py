"""The answer that names a job, at once or once it has ended."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Response
from fastapi.concurrency import run_in_threadpool

from certrad.app.api import events
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.job import JobView, job_path, job_view
from certrad.workers.contract.job import Created, JobRecord

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


Content = TypeVar("Content")
Submit = Callable[[Services, Content, list[tuple[str, str]], str | None], Created]


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
            "foreign_origin",
            "backbone_unavailable",
            "queue_full",
            "storage_unavailable",
        ),
    }


class Acceptance:
    """One request that brings a file: it becomes a job, and the answer names that."""

    def __init__(
        self, response: Response, services: ServicesDep, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
    ) -> None:
        self._response, self._services, self._key, self._prefer = response, services, idempotency_key, prefer

    async def submit(self, submit: Submit[Content], content: Content, fields: list[tuple[str, str]]) -> Created:
        """Calls `submit` in a thread, with a file, its fields, the services and the idempotency key."""
        return await run_in_threadpool(submit, self._services, content, fields, self._key)

    async def answer(self, created: Created) -> JobView:
        """Returns the job after the time the client prefers to wait: 202 with `Location`, or 200 once it has ended."""
        record = await self._wait(created.job_id)
        response = self._response
        response.headers["Location"] = response.headers["Content-Location"] = job_path(record.id)
        response.status_code = 200 if record.ended else 202
        if not record.ended:
            response.headers["Retry-After"] = str(_POLL_SECONDS)
        return job_view(record)

    async def _wait(self, job_id: str) -> JobRecord:
        wish = _WAIT.search(self._prefer or "")
        if wish is not None:
            seconds = min(float(wish[1]), self._services.settings.max_wait)
            self._response.headers["Preference-Applied"] = f"wait={seconds:g}"
            await events.wait_end(self._services.async_redis, job_id, seconds=seconds)
        return await run_in_threadpool(self._services.jobs.read, job_id)


AcceptanceDep = Annotated[Acceptance, Depends(Acceptance)]
