"""Probes and metrics."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_response, problem_responses
from certrad.workers.contract.catalogue import WorkerCard
from certrad.workers.contract.names import PREFIX
from certrad.workers.contract.queues import QUEUES, Worker, alive_engines, alive_workers
from certrad.workers.contract.redis_access import redis_options
from certrad.workers.contract.selftest import FailedSelfTest, SelfTests

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])
"""The route of metrics, which a service with a port of its own for them does not have."""


class Health(BaseModel):
    """A probe that passed."""

    status: Literal["ok"] = "ok"


class Workforce(Health):
    """The workers of each queue, and the backbones that the engines among them hold.

    A worker is listed once it has passed its self-test; `failed_selftests` lists those that take no work, by
    their device, or by their queue where they have none.
    """

    queues: dict[str, list[Worker]]
    engines: list[WorkerCard]
    failed_selftests: list[FailedSelfTest]


@router.get("/health/live", operation_id="live", summary="Is the process alive")
async def live() -> Health:
    """Returns 200 as long as the process runs."""
    return Health()


@router.get("/health/ready", operation_id="ready", summary="Can jobs be taken", responses=problem_responses())
def ready(services: ServicesDep) -> Health:
    """Returns 200 if Redis answers and takes writes; it ignores workers, whose absence must not stop the API.

    It asks on a new connection: an old one still answers when no new one can be made.
    """
    settings = services.settings
    with Redis.from_url(
        **redis_options(settings),
        socket_connect_timeout=settings.redis_timeout,
        socket_timeout=settings.redis_timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    ) as redis:
        redis.set(f"{PREFIX}:ready", "1", ex=10)
    return Health()


@router.get(
    "/health/workers",
    operation_id="workers",
    summary="Is there a worker for every queue",
    response_model=Workforce,
    responses=problem_responses("no_worker", "selftest_failed"),
)
def workers(services: ServicesDep) -> Response:
    """Returns the workers with a heartbeat; 503 if a queue has none."""
    queues = {queue: alive_workers(services.redis, queue) for queue in QUEUES}
    workforce = Workforce(
        queues=queues,
        engines=alive_engines(services.redis, services.catalogue),
        failed_selftests=SelfTests(services.redis).failures(),
    )
    body: dict[str, Any] = workforce.model_dump(mode="json")
    idle = [queue for queue, names in queues.items() if not names]
    if idle:
        failed = [each for each in workforce.failed_selftests if each.queue in idle]
        failures = "".join(f"; the self-test on {each.host} failed: {', '.join(each.checks)}" for each in failed)
        return problem_response(
            "selftest_failed" if failed else "no_worker",
            f"no worker on: {', '.join(idle)}{failures}",
            members={name: body[name] for name in ("queues", "failed_selftests")},
        )
    return JSONResponse(body)


@metrics_router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(),
    },
)
def metrics(services: ServicesDep) -> Response:
    """Returns the metrics of jobs, queues and workers of the whole installation."""
    return Response(generate_latest(services.metrics), media_type=CONTENT_TYPE_LATEST)
