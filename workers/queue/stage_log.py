"""Names the job, its request and its tenant in every line that a stage logs, and makes a span of the stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job

from certrad.workers.contract import logs, tracing
from certrad.workers.contract.names import record_key


@contextmanager
def stage_of_a_job(redis: Redis, job: Job) -> Iterator[None]:
    """Binds the ids of a job for the lines that are logged within it, and makes a span of it in the request's trace.

    A Redis that does not answer only costs the ids: the stage meets it by itself, and is tried again.

    Args:
        redis: The job store.
        job: The RQ job that carries a stage of the job; one whose arguments are none of ours has no ids.
    """
    job_id = job.args[0] if job.args and isinstance(job.args[0], str) else ""
    facts = _submission(redis, job_id)
    traceparent = facts.pop("traceparent", None)
    ids = {"job_id": job_id or None, **facts}
    name = str(job.func_name).rpartition(".")[2]
    with logs.bound(**ids), tracing.stage(name, traceparent=traceparent, **ids):
        yield


def _submission(redis: Redis, job_id: str) -> dict[str, str | None]:
    names = ("request_id", "tenant", "traceparent")
    try:
        stored = cast("list[bytes | None]", redis.hmget(record_key(job_id), names)) if job_id else []
    except RedisError:
        return {}
    return {name: None if value is None else value.decode() for name, value in zip(names, stored, strict=False)}
