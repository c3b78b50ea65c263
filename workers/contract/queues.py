"""Enqueues tasks by dotted name with JSON arguments; the job class runs nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from redis import Redis
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute
from rq.worker import Worker as RqWorker
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.contract.names import (
    ARCHIVE_QUEUE,
    ENGINE_QUEUE,
    FORMER_TASKS,
    INTAKE_QUEUE,
    SELFTEST_TASKS,
    TASKS,
    Stage,
)
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.contract.turns import place

_ALLOWED: Final = frozenset(path for _, path in (*TASKS.values(), *SELFTEST_TASKS.values()))


class AllowedJob(Job):
    """An RQ job that refuses every function but those of TASKS and SELFTEST_TASKS, and every callback.

    JSON alone is not enough: a writer of Redis could name any importable function.
    """

    @property
    def func(self) -> Callable[..., Any]:
        """Returns the task, by its name in this release or in the one before.

        Raises:
            PermissionError: The name is none of these.
        """
        name = str(self.func_name)
        path = FORMER_TASKS.get(name, name)
        if self.instance is not None or path not in _ALLOWED:
            raise PermissionError(f"function must be one of {sorted(_ALLOWED)}, got {self.func_name!r}")
        return import_attribute(path)

    @property
    def success_callback(self) -> None:
        """Refuses a callback.

        Raises:
            PermissionError: The job names one.
        """
        self._refuse_callback(self._success_callback_name)

    @property
    def failure_callback(self) -> None:
        """Refuses a callback.

        Raises:
            PermissionError: The job names one.
        """
        self._refuse_callback(self._failure_callback_name)

    @property
    def stopped_callback(self) -> None:
        """Refuses a callback.

        Raises:
            PermissionError: The job names one.
        """
        self._refuse_callback(self._stopped_callback_name)

    def send_webhooks(self, *_: object, **__: object) -> None:
        """Sends nothing: a job forged in Redis must not make a worker call addresses."""

    @staticmethod
    def _refuse_callback(name: str | None) -> None:
        if name:
            raise PermissionError(f"callbacks are not accepted, got {name!r}")


def queue(redis: Redis, name: str) -> Queue:
    """Returns the queue with this name, with JSON and the allow-list."""
    return Queue(name, connection=redis, serializer=JSONSerializer, job_class=AllowedJob)


def rq_job_id(job_id: str, stage: Stage) -> str:
    """Returns the id of the RQ job that carries one stage of a job."""
    return f"{job_id}-{stage}"


def enqueue(
    redis: Redis,
    stage: Stage,
    job_id: str,
    *,
    settings: SharedSettings,
    tenant: str,
    urgent: bool = False,
) -> None:
    """Puts one stage of a job on its queue, at its fair place among the tenants; a second call is harmless.

    `finish` goes first for every job: the work is done, and only its end is missing. The stage is in the queue before
    it is moved to its place, so that a process that dies in between loses nothing.

    Args:
        redis: The job store.
        stage: The stage.
        job_id: The job's id.
        settings: The time limit and the retries.
        tenant: The tenant of the job.
        urgent: Whether the stage goes before every normal one.
    """
    name, path = TASKS[stage]
    try:
        queue(redis, name).enqueue_call(
            func=path,
            args=(job_id,),
            job_id=rq_job_id(job_id, stage),
            timeout=settings.job_timeout,
            result_ttl=60,
            failure_ttl=settings.job_ttl,
            retry=Retry(max=settings.job_retries) if settings.job_retries else None,
            at_front=stage == "finish",
            unique=True,
        )
    except DuplicateJobError:
        return
    place(redis, name, rq_job_id(job_id, stage), urgent=urgent, tenant=tenant)


def rq_job(redis: Redis, stage: Stage, job_id: str) -> Job | None:
    """Returns the RQ job that carries a stage, or None if RQ does not know it (any more)."""
    return queue_of(redis, stage, job_id).fetch_job(rq_job_id(job_id, stage))


def queue_of(redis: Redis, stage: Stage, job_id: str) -> Queue:
    """Returns the queue of the RQ job that carries a stage: another one than today's, if an earlier release sent it.

    Args:
        redis: The job store.
        stage: The stage.
        job_id: The job's id.
    """
    sent_to = cast("bytes | None", redis.hget(Job.key_for(rq_job_id(job_id, stage)), "origin"))
    name = (sent_to or b"").decode()
    return queue(redis, name if name in QUEUES else TASKS[stage][0])


QUEUES: Final = (INTAKE_QUEUE, ARCHIVE_QUEUE, ENGINE_QUEUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One RQ worker whose heartbeat has not run out."""

    name: str
    state: str
    last_heartbeat: str


def alive_workers(redis: Redis, queue: str) -> list[Worker]:
    """Returns the workers of a queue that have a heartbeat; RQ lets the key of any other expire."""
    keys = sorted(cast("set[bytes]", redis.smembers(WORKERS_BY_QUEUE_KEY % queue)))
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "birth", "state", "last_heartbeat")
        answers = cast("list[list[bytes | None]]", pipe.execute())
    return [
        Worker(
            name=key.decode().removeprefix(RqWorker.redis_worker_namespace_prefix),
            state=(state or b"").decode(),
            last_heartbeat=(heartbeat or b"").decode(),
        )
        for key, (birth, state, heartbeat) in zip(keys, answers, strict=True)
        if birth is not None
    ]


def worker_exists(redis: Redis, name: str) -> bool:
    """Returns whether RQ knows a worker of this name whose heartbeat has not run out."""
    return bool(redis.exists(f"{RqWorker.redis_worker_namespace_prefix}{name}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """The number of stages that a queue has: waiting for a worker, with one, and given up by it."""

    waiting: int
    running: int
    failed: int


def stage_counts(redis: Redis) -> dict[str, StageCounts]:
    """Returns the counts of every queue.

    It reads lengths only: RQ's own counters clean up, and so change, what they count.
    """
    with redis.pipeline(transaction=False) as pipe:
        for rq_queue in (queue(redis, name) for name in QUEUES):
            pipe.llen(rq_queue.key)
            pipe.zcard(rq_queue.started_job_registry.key)
            pipe.zcard(rq_queue.failed_job_registry.key)
        lengths = iter(cast("list[int]", pipe.execute()))
    return {
        name: StageCounts(waiting=waiting, running=running, failed=failed)
        for name, waiting, running, failed in zip(QUEUES, lengths, lengths, lengths, strict=True)
    }


def alive_engines(redis: Redis, catalogue: Catalogue) -> list[WorkerCard]:
    """Returns the cards of the engines whose worker is alive."""
    alive = {worker.name for worker in alive_workers(redis, ENGINE_QUEUE)}
    return [card for card in catalogue.workers() if card.name in alive]
