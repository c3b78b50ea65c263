"""The response that names a job, either at once or after the job has ended."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from certrad.app.api import events
from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.request_log import request_id_of
from certrad.app.api.schemas.job import JobView, job_path, job_view
from certrad.models.errors import Rejected
from certrad.workers.contract import tracing
from certrad.workers.contract.job import Created, JobRecord, UnreadableRecordError
from certrad.workers.contract.submission import Submission

POLL_SECONDS: Final = 1


_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")


_ACCEPTED: Final = {
    "description": "The job; poll `Location`, or follow `links.events`.",
    "headers": {
        "Location": {"schema": {"type": "string"}, "description": "the job"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait before polling"},
    },
}


IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="the same key and request return the same job")
]


Prefer = Annotated[
    str | None,
    Header(
        description="`wait=N` delays the response until the job ends; N is at most `CERTRAD_MAX_WAIT` (30 s by default)"
    ),
]


Content = TypeVar("Content")
Submit = Callable[[Services, Content, list[tuple[str, str]], Submission, str | None], Created]


def job_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route that takes a file and returns its job.

    Args:
        codes: The error codes of the route itself.
    """
    return {
        200: {"model": JobView, "description": "The job has ended within `Prefer: wait=N`."},
        202: _ACCEPTED,
        **problem_responses(
            "invalid_request",
            "unknown_field",
            "unknown_task",
            "unknown_backbone",
            "idempotency_conflict",
            "callback_not_allowed",
            *codes,
            "body_too_large",
            "request_timeout",
            "foreign_origin",
            "backbone_unavailable",
            "queue_full",
            "tenant_quota_exceeded",
            "urgent_quota_exceeded",
            "too_many_connections",
            "job_store_full",
            "storage_unavailable",
        ),
    }


class Acceptance:
    """One request that brings a file: the file becomes a job, and the response names that job."""

    def __init__(
        self,
        request: Request,
        response: Response,
        services: ServicesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
        prefer: Prefer = None,
    ) -> None:
        self._response, self._services, self._key, self._prefer = response, services, idempotency_key, prefer
        self._tenant = caller.tenant
        self._submission = Submission(
            tenant=caller.tenant,
            request_id=request_id_of(request.scope),
            traceparent=tracing.current_traceparent(),
        )

    async def submit(self, submit: Submit[Content], content: Content, fields: list[tuple[str, str]]) -> Created:
        """Returns the job that `submit` creates; `submit` runs in a thread.

        Args:
            submit: Takes the services, the content, the fields, who sends them, and the idempotency key.
            content: The file of the request.
            fields: The other fields of the request.
        """
        return await run_in_threadpool(submit, self._services, content, fields, self._submission, self._key)

    async def answer(self, created: Created) -> JobView:
        """Returns the job after the time the client prefers to wait: 202 with `Location`, or 200 if it has ended.

        Nothing that happens after its creation makes an accepted job an error: if it cannot be read any more, the
        response shows it as it was created.

        Args:
            created: The job.
        """
        await self._wait(created.job_id)
        record, view = await self._read(created)
        response = self._response
        response.headers["Location"] = response.headers["Content-Location"] = job_path(record.id)
        response.status_code = 200 if record.ended else 202
        if not record.ended:
            response.headers["Retry-After"] = str(POLL_SECONDS)
        return view

    async def _wait(self, job_id: str) -> None:
        wish = _WAIT.search(self._prefer or "")
        if wish is not None:
            seconds = min(float(wish[1]), self._services.settings.max_wait)
            self._response.headers["Preference-Applied"] = f"wait={seconds:g}"
            await events.wait_end(self._services.events, job_id, seconds=seconds)

    async def _read(self, created: Created) -> tuple[JobRecord, JobView]:
        try:
            record = await run_in_threadpool(self._services.jobs.read, created.job_id, self._tenant)
            return record, self._services.job_view(record)
        # Redis is away, somebody erased the job meanwhile, or another version wrote what this one cannot show.
        except (RedisError, Rejected, UnreadableRecordError, ValueError, KeyError):
            return created.record, job_view(created.record, None)


AcceptanceDep = Annotated[Acceptance, Depends(Acceptance)]
