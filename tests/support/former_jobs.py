"""Jobs as the release before this one left them in Redis: another queue and other function names."""

from redis import Redis
from rq import Queue, Retry
from rq.job import Job
from rq.serializers import JSONSerializer

from certrad.workers.settings import WorkerSettings

FORMER_QUEUE = "gpu"


def former_queue(redis: Redis) -> Queue:
    """The queue of engines in the release before this one."""
    return Queue(FORMER_QUEUE, connection=redis, serializer=JSONSerializer)


def send_as_before(redis: Redis, job_id: str, settings: WorkerSettings, *, stage: str = "certify") -> Job:
    """Enqueues the engine's stage of a job with the words of the release before this one."""
    return former_queue(redis).enqueue_call(
        func=f"workers.engine.{stage}",
        args=(job_id,),
        job_id=f"{job_id}-{stage}",
        timeout=settings.job_timeout,
        result_ttl=60,
        failure_ttl=settings.job_ttl,
        retry=Retry(max=settings.job_retries),
        unique=True,
    )
