"""Archives wait in a queue of their own: no certificate waits for one, and those of the release before are not lost."""

import time
from dataclasses import replace

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.tuning import TuningParams, TuningRequest
from certrad.workers.contract.names import ARCHIVE_QUEUE, INTAKE_QUEUE, Phase, Stage
from certrad.workers.contract.queues import enqueue, queue
from certrad.workers.contract.records import Records
from certrad.workers.contract.request import Request
from certrad.workers.queue.maintenance import reap
from certrad.workers.settings import WorkerSettings
from tests.support.archives import classes, textured, zipped
from tests.support.processes import Processes, environment, wait_for

pytestmark = pytest.mark.integration

NAMES = ["ant", "bee"]
TUNING = TuningRequest(
    name="mine",
    backbone="demo",
    class_names=None,
    task=None,
    params=replace(TuningParams.published("few_shot"), shots=1, epochs=1),
)
CERTIFYING = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings) -> Records:
    return Records(redis, ttl=settings.job_ttl)


def submit(records: Records, settings: WorkerSettings, job_id: str, request: Request, upload: bytes) -> None:
    """Stores an upload with its record, as the API does."""
    records.create(job_id, request, max_active=10, digest="0" * 64)
    settings.blobs_dir.mkdir(parents=True, exist_ok=True)
    (settings.blobs_dir / job_id).write_bytes(upload)


def submit_archive(records: Records, settings: WorkerSettings) -> None:
    submit(records, settings, "tuning", TUNING, zipped(classes(NAMES, 2)))


def send_as_before(redis: Redis, settings: WorkerSettings) -> None:
    """Enqueues the unpacking as the release before this one did: on the queue of intake, by another name."""
    Queue(INTAKE_QUEUE, connection=redis, serializer=JSONSerializer).enqueue_call(
        func="workers.intake.unpack",
        args=("tuning",),
        job_id="tuning-unpack",
        timeout=settings.job_timeout,
        result_ttl=60,
        failure_ttl=settings.job_ttl,
        retry=Retry(max=settings.job_retries),
        unique=True,
    )


def start_worker(processes: Processes, settings: WorkerSettings, name: str) -> None:
    command = ["-m", "certrad.workers.cli.main", "worker", name]
    processes.start(command, name=name, env=environment(settings))


def await_phase(records: Records, job_id: str, phase: Phase) -> None:
    def reached() -> bool:
        record = records.read(job_id)
        assert record is not None
        assert record.error is None
        return record.phase == phase

    wait_for(reached, what=f"the phase {phase} of {job_id}")


def test_an_image_passes_an_archive_which_waits_for_a_worker_of_its_own(
    redis: Redis, settings: WorkerSettings, records: Records, processes: Processes
) -> None:
    stages: list[tuple[Stage, str]] = [("unpack", "tuning"), ("decode", "certifying")]
    submit_archive(records, settings)
    submit(records, settings, "certifying", CERTIFYING, textured(0, 0))
    for stage, job_id in stages:
        enqueue(redis, stage, job_id, settings=settings, tenant="local")
    start_worker(processes, settings, "intake")
    await_phase(records, "certifying", "waiting")
    assert queue(redis, ARCHIVE_QUEUE).job_ids == ["tuning-unpack"]
    start_worker(processes, settings, "archive")
    await_phase(records, "tuning", "waiting")


def test_intake_unpacks_an_archive_that_the_release_before_left_in_its_queue(
    redis: Redis, settings: WorkerSettings, records: Records, processes: Processes
) -> None:
    submit_archive(records, settings)
    send_as_before(redis, settings)
    start_worker(processes, settings, "intake")
    await_phase(records, "tuning", "waiting")
    assert queue(redis, INTAKE_QUEUE).job_ids == []


def test_such_an_archive_is_not_sent_a_second_time(redis: Redis, settings: WorkerSettings, records: Records) -> None:
    submit_archive(records, settings)
    send_as_before(redis, settings)
    reap(redis, settings, clock=lambda: time.time() + settings.maintenance_seconds + 1)
    assert queue(redis, INTAKE_QUEUE).job_ids == ["tuning-unpack"]
    assert queue(redis, ARCHIVE_QUEUE).job_ids == []


def test_a_worker_of_archives_makes_no_signing_key(
    redis: Redis, settings: WorkerSettings, records: Records, processes: Processes
) -> None:
    submit_archive(records, settings)
    enqueue(redis, "unpack", "tuning", settings=settings, tenant="local")
    start_worker(processes, settings, "archive")
    await_phase(records, "tuning", "waiting")
    assert not settings.signing_dir.exists()
