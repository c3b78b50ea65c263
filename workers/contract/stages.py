"""The stages of a job that is given up: their RQ jobs are stopped or deleted."""

from redis import Redis
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from certrad.workers.contract.names import TASKS
from certrad.workers.contract.queues import rq_job
from certrad.workers.contract.turns import forget


def stop_stages(redis: Redis, job_id: str) -> None:
    """Tells the worker that has a job to stop, and deletes what waits for one.

    Args:
        redis: The job store.
        job_id: The job's id.
    """
    for stage in TASKS:
        sent = rq_job(redis, stage, job_id)
        if sent is None:
            continue
        if sent.get_status() == JobStatus.STARTED:
            _stop(redis, sent.id)
        else:
            _delete(redis, sent)


def is_held(redis: Redis, job_id: str) -> bool:
    """Returns whether a worker has a stage of a job.

    Args:
        redis: The job store.
        job_id: The job's id.
    """
    sent = (rq_job(redis, stage, job_id) for stage in TASKS)
    return any(one is not None and one.get_status() == JobStatus.STARTED for one in sent)


def forget_stages(redis: Redis, job_id: str) -> None:
    """Deletes the RQ jobs that carried the stages of an ended job.

    Args:
        redis: The job store.
        job_id: The job's id.
    """
    for stage in TASKS:
        if (sent := rq_job(redis, stage, job_id)) is not None:
            _delete(redis, sent)


def _delete(redis: Redis, sent: Job) -> None:
    """Deletes an RQ job; one that no worker ever had takes its turn back first, since it would count as had."""
    if sent.started_at is None:
        forget(redis, sent.origin, sent.id)
    try:
        sent.delete()
    except ValueError:  # RQ has listed an execution that a worker has ended since
        redis.delete(sent.execution_registry.key)
        sent.delete()


def _stop(redis: Redis, rq_job_id: str) -> None:
    try:
        send_stop_job_command(redis, rq_job_id, serializer=JSONSerializer)
    except (InvalidJobOperation, NoSuchJobError):
        return  # it stopped by itself in between
