"""The work horse of the next job is forked before the job comes; whatever happens to it, no job is lost or delayed."""

import signal
import subprocess

import psutil
import pytest
from redis import Redis
from rq.job import Job

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.contract.names import INTAKE_QUEUE
from certrad.workers.contract.queues import AllowedJob, alive_workers, enqueue, rq_job_id
from certrad.workers.contract.records import Records
from certrad.workers.queue.worker import IntakeWorker
from certrad.workers.settings import WorkerSettings
from tests.support.archives import textured
from tests.support.processes import Processes, children, environment, gone, kill_9, wait_for

pytestmark = pytest.mark.integration

REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings) -> Records:
    return Records(redis, ttl=settings.job_ttl)


@pytest.fixture
def worker(redis: Redis, settings: WorkerSettings, processes: Processes) -> subprocess.Popen[bytes]:
    """An intake worker that waits for a job, after it has signed on in the empty Redis."""
    worker = processes.start(["-m", "certrad.workers.cli.main", "worker", "intake"], env=environment(settings))
    await_signed_on(redis)
    return worker


def await_signed_on(redis: Redis) -> None:
    """Returns when a worker has signed on: before, its child is the sandbox of its self-test."""
    wait_for(lambda: alive_workers(redis, INTAKE_QUEUE), what="an intake worker")


def ready_horse(worker: subprocess.Popen[bytes]) -> psutil.Process:
    """Returns the only child of a worker that waits."""
    return wait_for(lambda: children(worker.pid)[:1], what="a work horse that is ready")[0]


def decode(redis: Redis, records: Records, settings: WorkerSettings, job_id: str) -> None:
    """Sends an image as the API does, and waits until it is decoded."""
    records.create(job_id, REQUEST, max_active=10, digest="0" * 64)
    settings.blobs_dir.mkdir(parents=True, exist_ok=True)
    (settings.blobs_dir / job_id).write_bytes(textured(0, 0))
    enqueue(redis, "decode", job_id, settings=settings, tenant="local")

    def decoded() -> bool:
        record = records.read(job_id)
        assert record is not None
        assert record.error is None
        return record.phase == "waiting"

    wait_for(decoded, what="the decoding")


def retries_left(redis: Redis, job_id: str) -> int | None:
    job: Job = AllowedJob.fetch(rq_job_id(job_id, "decode"), connection=redis)
    return job.retries_left


def test_a_job_is_done_by_the_horse_that_was_there_before_it_and_the_next_job_by_another(
    worker: subprocess.Popen[bytes], redis: Redis, records: Records, settings: WorkerSettings
) -> None:
    first = ready_horse(worker)
    decode(redis, records, settings, "first")
    wait_for(lambda: gone(first.pid), what="the end of the first work horse")
    second = ready_horse(worker)
    assert second.pid != first.pid
    decode(redis, records, settings, "second")
    wait_for(lambda: gone(second.pid), what="the end of the second work horse")


def test_a_horse_that_is_killed_while_it_waits_costs_no_retry(
    worker: subprocess.Popen[bytes], redis: Redis, records: Records, settings: WorkerSettings
) -> None:
    horse = ready_horse(worker)
    kill_9(horse.pid)
    wait_for(lambda: gone(horse.pid), what="the death of the work horse")  # until then it can be given a job
    decode(redis, records, settings, "job")
    assert retries_left(redis, "job") == settings.job_retries


def test_a_job_that_was_erased_meanwhile_does_no_harm(
    worker: subprocess.Popen[bytes], redis: Redis, records: Records, settings: WorkerSettings
) -> None:
    ready_horse(worker)
    records.create("erased", REQUEST, max_active=10, digest="0" * 64)
    enqueue(redis, "decode", "erased", settings=settings, tenant="local")
    records.erase("erased")
    decode(redis, records, settings, "job")
    assert worker.poll() is None


def test_a_horse_ignores_a_job_that_is_gone_before_it_begins(redis: Redis, settings: WorkerSettings) -> None:
    worker = IntakeWorker(INTAKE_QUEUE, name="worker", redis=redis, settings=settings, prepare_for_work=False)
    worker._perform("gone", "execution")
    assert redis.keys() == []


def test_a_worker_that_is_killed_leaves_no_horse_that_hears_nothing(
    redis: Redis, settings: WorkerSettings, processes: Processes
) -> None:
    worker = processes.start(["-c", DEAF], env=environment(settings))
    await_signed_on(redis)
    horse = ready_horse(worker)
    kill_9(worker.pid)
    wait_for(lambda: gone(horse.pid), what="the end of the work horse")


def test_a_worker_that_is_asked_to_stop_leaves_no_horse(worker: subprocess.Popen[bytes]) -> None:
    horse = ready_horse(worker)
    worker.terminate()
    assert worker.wait(timeout=120) == 0
    assert gone(horse.pid)


def test_a_worker_that_ends_leaves_no_horse_to_a_process_that_goes_on(redis: Redis, settings: WorkerSettings) -> None:
    me, handlers = psutil.Process(), {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    before = set(me.children())
    IntakeWorker(INTAKE_QUEUE, name="worker", redis=redis, settings=settings).work(burst=True)
    for signum, handler in handlers.items():  # RQ takes them and keeps them
        signal.signal(signum, handler)
    assert set(me.children()) <= before  # one of an earlier test may end meanwhile


DEAF = """
from time import sleep
from certrad.workers.queue.worker import IntakeWorker
IntakeWorker.setup_work_horse_signals = lambda _: sleep(600)  # the horse reads no pipe, as when it waits for Redis
from certrad.workers.cli import worker
from certrad.workers.contract.arguments import Parser
parser = Parser("worker", "")
worker.add_arguments(parser)
raise SystemExit(worker.run(parser.parse(["intake"])))
"""
