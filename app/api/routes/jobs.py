"""The routes that read, list, follow, cancel and erase jobs."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError

from certrad.app.api import events
from certrad.app.api.accepted import POLL_SECONDS
from certrad.app.api.caller import CallerDep, caller
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.job import JobPage, JobView
from certrad.app.api.scopes import TO_SEND
from certrad.app.api.secret import bearer
from certrad.app.api.sessions import COOKIE
from certrad.models.errors import Rejected
from certrad.workers.contract.access_keys import KeyFileError

router = APIRouter(prefix="/jobs", tags=["jobs"])

_RECONNECT_MS: Final = 2000


class PageQuery(BaseModel):
    """The page of the list to return."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cursor: float | None = Field(None, ge=0, description="`next` of the page before")
    limit: int = Field(50, ge=1, le=200, description="jobs on a page")


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs",
    response_model_exclude_unset=True,
    responses=problem_responses("invalid_request", "unknown_field"),
)
def list_jobs(query: Annotated[PageQuery, Query()], services: ServicesDep, caller: CallerDep) -> JobPage:
    """Returns the jobs of the tenant, newest first."""
    before = float("inf") if query.cursor is None else query.cursor
    page = services.jobs.page(tenant=caller.tenant, before=before, limit=query.limit)
    following = None if page.following is None else repr(page.following)
    return JobPage(jobs=[services.job_view(record) for record in page.records], next=following)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    response_model_exclude_unset=True,
    summary="Read a job",
    responses=problem_responses("job_not_found", "job_unreadable", "invalid_request"),
)
def get_job(job_id: str, response: Response, services: ServicesDep, caller: CallerDep) -> JobView:
    """Returns the job with its current status; until it has ended, `Retry-After` says when to poll again."""
    record = services.jobs.read(job_id, caller.tenant)
    if not record.ended:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return services.job_view(record)


@router.get(
    "/{job_id}/input",
    operation_id="get_job_input",
    summary="See what the model saw",
    response_class=Response,
    responses={
        200: {
            "description": "The model input, rounded to 8 bits: for people to look at. It is kept for "
            "`CERTRAD_OUTPUT_TTL` after the job ends.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses("job_not_found", "job_unreadable", "job_has_no_input", "output_expired", "invalid_request"),
    },
)
def get_job_input(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Returns the model input: the image resized, cropped, in the file's own window, before noise."""
    return Response(services.jobs.model_input(job_id, caller.tenant), media_type="image/png")


@router.delete(
    "/{job_id}",
    operation_id="delete_job",
    summary="Cancel or erase a job",
    response_model=JobView,
    responses={
        200: {"description": "The job was queued or running: it is cancelled at once, even within a block."},
        204: {"description": "The job had ended: it is erased. Its certificate, which holds digests only, stays."},
        **problem_responses("job_not_found", "job_unreadable", "invalid_request", "foreign_origin"),
    },
)
def delete_job(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Cancels a queued or running job at once, even within a block; erases a job that has ended.

    Its certificate stays. A job that certifies needs the scope `submit`, one that tunes `tune`.
    """
    record = services.jobs.read(job_id, caller.tenant)
    if (needed := TO_SEND[record.request.kind]) not in caller.scopes:
        raise Rejected("scope_missing", f"this job needs a key with the scope `{needed}`")
    if record.ended:
        services.jobs.erase(job_id)
        return Response(status_code=204)
    services.jobs.cancel(job_id)
    view = services.job_view(services.jobs.read(job_id, caller.tenant))
    return JSONResponse(view.model_dump(mode="json", exclude_unset=True))


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events `phase`, `progress` and, as the last one, `end`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problem_responses("job_not_found", "job_unreadable", "invalid_request"),
    },
)
async def follow_job(
    request: Request,
    job_id: str,
    services: ServicesDep,
    caller: CallerDep,
    last_event_id: Annotated[str | None, Header(description="id of the event after which to continue")] = None,
) -> EventSourceResponse:
    """Returns the job's events as they come, from the first one or from the one after `Last-Event-ID`.

    Ten minutes after the end of the job only its last event is left. The stream ends, too, with the key or the session
    that asked for it.
    """
    after = events.position(last_event_id)
    await run_in_threadpool(services.jobs.read, job_id, caller.tenant)
    return EventSourceResponse(_stream(services, job_id, after, request), headers={"X-Accel-Buffering": "no"})


async def _stream(services: Services, job_id: str, after: str, request: Request) -> AsyncIterator[bytes]:
    beat = services.settings.keep_alive
    looked = time.monotonic()
    yield format_sse_event(retry=_RECONNECT_MS)
    try:
        async for event in events.follow(services.events, job_id, after=after, beat=beat):
            if event is None or time.monotonic() - looked >= beat:  # a job with many events leaves no time for a beat
                if not await _may_still(services, request):
                    return
                looked = time.monotonic()
            yield event.encode() if event else format_sse_event(comment="still here")
    except (RedisError, KeyFileError):
        return  # the client comes back with Last-Event-ID


async def _may_still(services: Services, request: Request) -> bool:
    """Returns whether the key or the session that a request came with is still in use."""
    asked_by = caller(request)
    if asked_by.key_id is None:
        return True
    if bearer(request.headers) is None and (cookie := request.cookies.get(COOKIE)) is not None:
        return await services.sessions.key_of(cookie) is not None
    return services.access_keys.live(asked_by.key_id) is not None
