"""Jobs that the release before this one left in the queue `gpu` run on the queue `engine`, and none is lost."""

import time

import numpy as np
import pytest
from redis import Redis
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry

from certrad.models.shipped import shipped_tasks
from certrad.models.types import CertifyRequest, ClassifierSpec, SamplingParams
from certrad.workers.contract.names import TASKS, record_key
from certrad.workers.contract.queues import queue, rq_job
from certrad.workers.contract.records import Records
from certrad.workers.queue.maintenance import move_former_jobs, reap
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import decoded
from tests.support.former_jobs import former_queue, send_as_before
from tests.support.processes import Processes, environment, wait_for
from tests.support.stored import stored_values

pytestmark = pytest.mark.integration

TASK = shipped_tasks()["mednist"]
REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=TASK.class_names, template=TASK.template),
    params=SamplingParams(n0=10, n=20),
)
QUEUE, FUNCTION = TASKS["certify"]


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings) -> Records:
    return Records(redis, ttl=settings.job_ttl)


def waiting(redis: Redis, settings: WorkerSettings, *job_ids: str) -> None:
    """Leaves decoded jobs whose RQ jobs are in the former queue."""
    for job_id in job_ids:
        decoded(redis, job_id, REQUEST, np.zeros((3, 64, 64), np.float32))
        send_as_before(redis, job_id, settings)


def reap_later(redis: Redis, settings: WorkerSettings) -> None:
    reap(redis, settings, clock=lambda: time.time() + settings.maintenance_seconds + 1)


def test_a_job_of_the_former_release_ends_succeeded(
    redis: Redis, settings: WorkerSettings, records: Records, processes: Processes
) -> None:
    waiting(redis, settings, "job")
    for name in ("gpu", "intake"):  # `gpu` is the former name of `engine`
        command = ["-m", "certrad.workers.cli.main", "worker", name]
        processes.start(command, name=name, env=environment(settings))
    wait_for(lambda: records.status("job") in ("succeeded", "failed", "cancelled"), what="the end of the job")
    record = records.read("job")
    assert record is not None
    assert (record.status, record.error) == ("succeeded", None)
    assert "now called `engine`" in processes.errors("gpu").read_text()
    assert redis.keys("rq:*:gpu*") == []


def test_they_keep_their_order_and_get_todays_names(redis: Redis, settings: WorkerSettings) -> None:
    waiting(redis, settings, "first", "second")
    move_former_jobs(redis, settings)
    assert queue(redis, QUEUE).job_ids == ["first-certify", "second-certify"]
    assert former_queue(redis).job_ids == []
    job = rq_job(redis, "certify", "first")
    assert job is not None
    assert (job.origin, job.func_name, job.retries_left) == (QUEUE, FUNCTION, settings.job_retries)


def test_moving_again_changes_nothing(redis: Redis, settings: WorkerSettings) -> None:
    waiting(redis, settings, "job")
    move_former_jobs(redis, settings)
    before = stored_values(redis)
    move_former_jobs(redis, settings)
    assert stored_values(redis) == before


@pytest.mark.parametrize("dies_after", ["lrem", "delete"])
def test_a_mover_that_is_killed_loses_no_job(
    redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, dies_after: str
) -> None:
    waiting(redis, settings, "job")
    command = getattr(redis, dies_after)

    def last_command(*arguments: object) -> None:
        command(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(redis, dies_after, last_command)
        with pytest.raises(KeyboardInterrupt):
            move_former_jobs(redis, settings)
    assert queue(redis, QUEUE).job_ids == []
    move_former_jobs(redis, settings)
    reap_later(redis, settings)
    assert queue(redis, QUEUE).job_ids == ["job-certify"]


def test_a_job_that_was_sent_again_meanwhile_is_not_sent_twice(redis: Redis, settings: WorkerSettings) -> None:
    waiting(redis, settings, "job")
    reap_later(redis, settings)
    move_former_jobs(redis, settings)
    assert queue(redis, QUEUE).job_ids == ["job-certify"]
    assert former_queue(redis).job_ids == []


@pytest.mark.parametrize("end", ["cancelled", "erased"])
def test_a_job_that_has_ended_is_dropped(redis: Redis, settings: WorkerSettings, records: Records, end: str) -> None:
    waiting(redis, settings, "job")
    records.cancel("job")
    if end == "erased":
        records.erase("job")
    move_former_jobs(redis, settings)
    assert queue(redis, QUEUE).job_ids == former_queue(redis).job_ids == []
    assert not redis.exists(Job.key_for("job-certify"))


def test_a_job_whose_record_cannot_be_read_ends_and_stops_no_other(
    redis: Redis, settings: WorkerSettings, records: Records
) -> None:
    waiting(redis, settings, "broken", "job")
    redis.hset(record_key("broken"), "request", "{")
    move_former_jobs(redis, settings)
    reap_later(redis, settings)
    assert queue(redis, QUEUE).job_ids == ["job-certify"]
    assert records.status("broken") == "failed"


@pytest.mark.parametrize(("heartbeat_in", "sent"), [(60, []), (-60, ["job-certify"])], ids=["alive", "dead"])
def test_a_job_of_a_former_engine_is_sent_again_once_its_heartbeat_has_ended(
    redis: Redis, settings: WorkerSettings, heartbeat_in: float, sent: list[str]
) -> None:
    waiting(redis, settings, "job")
    former = former_queue(redis)
    redis.delete(former.key)
    job = Job.fetch("job-certify", connection=redis, serializer=former.serializer)
    job.set_status(JobStatus.STARTED)
    redis.zadd(StartedJobRegistry(queue=former).key, {"job-certify:execution": time.time() + heartbeat_in})
    reap_later(redis, settings)
    assert queue(redis, QUEUE).job_ids == sent
