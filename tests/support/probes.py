"""Tasks and workers that show how jobs are run, without a model; the product's allow-list knows nothing of them."""

import os
import signal
import sys
import time
from collections.abc import Callable
from socket import socket
from typing import Any

from redis import Redis
from rq import Queue, Retry, get_current_job
from rq.job import Job
from rq.serializers import JSONSerializer

from certrad.workers.connection import connect
from certrad.workers.contract import logs
from certrad.workers.contract.names import ENGINE_QUEUE
from certrad.workers.contract.queues import AllowedJob
from certrad.workers.engine.process import JobPerformer, serve
from certrad.workers.engine.worker import EngineWorker
from certrad.workers.parent_death import die_with
from certrad.workers.queue import stopping
from certrad.workers.queue.shortage import ShortageError
from certrad.workers.queue.worker import worker_name
from certrad.workers.settings import WorkerSettings

STEPS = 80
STEP_SECONDS = 0.05
SECRET = "DOE^JANE"


class ProbeJob(AllowedJob):
    """Allows the tasks of this module besides those of the product."""

    @property
    def func(self) -> Callable[..., Any]:
        if (self.func_name or "").startswith(f"{__name__}."):
            return Job.func.fget(self)  # type: ignore[no-any-return, attr-defined]
        return super().func


class ProbePerformer(JobPerformer):
    job_class = ProbeJob


class ProbeWorker(EngineWorker):
    """An engine worker whose engine loads nothing."""

    engine_module = "tests.support.probe_engine"
    job_class = ProbeJob


def send(
    redis: Redis, task: Callable[[str], None], token: str = "token", *, retries: int = 3, timeout: int = 60
) -> Job:
    """Enqueues one of the tasks below."""
    queue = Queue(ENGINE_QUEUE, connection=redis, serializer=JSONSerializer, job_class=ProbeJob)
    path = f"{__name__}.{task.__name__}"
    retry = Retry(max=retries) if retries else None
    return queue.enqueue_call(func=path, args=(token,), timeout=timeout, retry=retry)


def pids(redis: Redis, token: str = "token") -> list[int]:
    """The processes that began a task with this token, in order."""
    return [int(pid) for pid in redis.lrange(f"probe:{token}:pids", 0, -1)]


def steps(redis: Redis, token: str = "token") -> int:
    """Returns the number of steps that `walk` has made in all its attempts."""
    return int(redis.get(f"probe:{token}:steps") or 0)


def mark(token: str) -> None:
    """Says which process runs it."""
    _redis().rpush(f"probe:{token}:pids", os.getpid())


def fail(token: str) -> None:
    """Raises an error whose message must not be kept."""
    mark(token)
    raise ValueError(SECRET)


def walk(token: str) -> None:
    """Goes on where an earlier attempt stopped, and ends early when asked to, as an engine's blocks do."""
    mark(token)
    redis = _redis()
    while not redis.exists(f"probe:{token}:cancelled") and redis.incr(f"probe:{token}:steps") < STEPS:
        time.sleep(STEP_SECONDS)
        stopping.raise_if_stopped()


def hang(token: str) -> None:
    """Does not hear that it is to stop."""
    mark(token)
    time.sleep(600)


def poison(token: str) -> None:
    """Leaves a process that can go on no more; the next one has no trouble."""
    mark(token)
    if len(pids(_redis(), token)) == 1:
        raise SystemExit(1)


def want_room(token: str) -> None:
    """Finds no room at first; takes more attempts than a job has retries."""
    mark(token)
    if len(pids(_redis(), token)) <= 5:
        raise ShortageError


def die(token: str) -> None:
    """Kills the process that runs it."""
    mark(token)
    os.kill(os.getpid(), signal.SIGKILL)


def run_worker() -> None:
    """Runs a probe worker until it is told to stop."""
    logs.configure("worker")
    settings = WorkerSettings()
    name, redis = worker_name(ENGINE_QUEUE), connect(settings, is_stopping=stopping.requested)
    ProbeWorker(ENGINE_QUEUE, name=name, redis=redis, settings=settings).work()


def run_engine() -> None:
    """Runs the engine of a probe worker."""
    name, channel_fd, parent_pid = sys.argv[1:]
    die_with(int(parent_pid))
    logs.configure("engine")
    with socket(fileno=int(channel_fd)) as channel:
        performer = ProbePerformer(ENGINE_QUEUE, name=name, settings=WorkerSettings())
        serve(performer, lambda _: None, lambda _: None, channel)


def _redis() -> Redis:
    job = get_current_job()
    assert job is not None
    return job.connection
