"""The reaper brings back what RQ has lost, ends what RQ has given up, and deletes what nobody speaks for."""

import json
import os
import time
from pathlib import Path

import pytest
import structlog
from redis import Redis
from rq.job import JobStatus
from rq.registry import StartedJobRegistry

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.tuning import TuningParams, TuningRequest
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import ACTIVE, JOBS, TASKS, Phase, Stage, record_key
from certrad.workers.contract.queues import enqueue, queue, rq_job, rq_job_id
from certrad.workers.contract.records import Records
from certrad.workers.contract.request import Request
from certrad.workers.queue.maintenance import reap
from certrad.workers.settings import WorkerSettings
from tests.support.stored import stored_values

pytestmark = pytest.mark.integration

REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)
JOB = "job-1"
TUNING = TuningRequest(
    name="mine", backbone="demo", class_names=None, task=None, params=TuningParams.published("advpt")
)
STAGE_PHASES: list[tuple[Stage, Phase, Request]] = [
    ("decode", "queued", REQUEST),
    ("decode", "decoding", REQUEST),
    ("certify", "waiting", REQUEST),
    ("certify", "loading", REQUEST),
    ("certify", "adapting", REQUEST),
    ("certify", "selecting", REQUEST),
    ("certify", "estimating", REQUEST),
    ("finish", "finishing", REQUEST),
    ("unpack", "queued", TUNING),
    ("unpack", "unpacking", TUNING),
    ("tune", "waiting", TUNING),
    ("tune", "loading", TUNING),
    ("tune", "attacking", TUNING),
    ("tune", "tuning", TUNING),
    ("tune", "evaluating", TUNING),
    ("finish", "finishing", TUNING),
]


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings) -> Records:
    return Records(redis, ttl=settings.job_ttl)


def create(records: Records, phase: Phase, job_id: str = JOB, request: Request = REQUEST) -> None:
    records.create(job_id, request, max_active=10, digest="digest")
    if phase != "queued":
        records.enter(job_id, phase)


def reap_later(redis: Redis, settings: WorkerSettings, seconds: float = 10) -> None:
    reap(redis, settings, clock=lambda: time.time() + seconds)


def give_up(redis: Redis, stage: Stage, status: JobStatus) -> None:
    """Leaves the RQ job as RQ does when it takes a job from its lists for good."""
    rq_queue = queue(redis, TASKS[stage][0])
    rq_queue.remove(rq_job_id(JOB, stage))
    job = rq_job(redis, stage, JOB)
    assert job is not None
    job.set_status(status)


def read(records: Records) -> JobRecord:
    record = records.read(JOB)
    assert record is not None
    return record


@pytest.mark.parametrize(("stage", "phase", "request_"), STAGE_PHASES)
def test_a_rq_job_that_vanished_is_sent_again(
    redis: Redis, settings: WorkerSettings, records: Records, stage: Stage, phase: Phase, request_: Request
) -> None:
    create(records, phase, request=request_)
    reap_later(redis, settings)
    assert queue(redis, TASKS[stage][0]).job_ids == [rq_job_id(JOB, stage)]
    assert not read(records).ended


def test_a_queued_rq_job_that_is_in_no_list_is_sent_again(
    redis: Redis, settings: WorkerSettings, records: Records
) -> None:
    create(records, "waiting")
    enqueue(redis, "certify", JOB, settings=settings, tenant="local")
    rq_queue = queue(redis, TASKS["certify"][0])
    redis.delete(rq_queue.key)
    reap_later(redis, settings)
    assert rq_queue.job_ids == [rq_job_id(JOB, "certify")]


def test_a_started_rq_job_that_nobody_performs_is_sent_again(
    redis: Redis, settings: WorkerSettings, records: Records
) -> None:
    create(records, "estimating")
    enqueue(redis, "certify", JOB, settings=settings, tenant="local")
    give_up(redis, "certify", JobStatus.STARTED)
    reap_later(redis, settings)
    assert queue(redis, TASKS["certify"][0]).job_ids == [rq_job_id(JOB, "certify")]


@pytest.mark.parametrize("place", ["queue", "intermediate", "started"])
def test_a_rq_job_on_its_way_is_left_alone(
    redis: Redis, settings: WorkerSettings, records: Records, place: str
) -> None:
    create(records, "estimating")
    enqueue(redis, "certify", JOB, settings=settings, tenant="local")
    rq_queue, name = queue(redis, TASKS["certify"][0]), rq_job_id(JOB, "certify")
    if place != "queue":
        redis.lmove(rq_queue.key, rq_queue.intermediate_queue_key)
    if place == "started":
        redis.delete(rq_queue.intermediate_queue_key)
        registry = StartedJobRegistry(queue=rq_queue)
        redis.zadd(registry.key, {f"{name}:execution": time.time() + 60})
    before = snapshot(redis)
    reap_later(redis, settings)
    assert snapshot(redis) == before


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.STOPPED])
def test_a_rq_job_that_rq_has_given_up_ends_the_job(
    redis: Redis, settings: WorkerSettings, records: Records, status: JobStatus
) -> None:
    create(records, "estimating")
    enqueue(redis, "certify", JOB, settings=settings, tenant="local")
    give_up(redis, "certify", status)
    upload = store_upload(settings, JOB)
    reap_later(redis, settings)
    record = read(records)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.code == "worker_lost"
    assert not upload.exists()


def test_a_task_that_ended_without_an_outcome_ends_the_job(
    redis: Redis, settings: WorkerSettings, records: Records
) -> None:
    create(records, "finishing")
    enqueue(redis, "finish", JOB, settings=settings, tenant="local")
    give_up(redis, "finish", JobStatus.FINISHED)
    reap_later(redis, settings)
    error = read(records).error
    assert error is not None
    assert error.code == "internal_error"


def test_a_job_that_moved_just_now_is_left_alone(redis: Redis, settings: WorkerSettings, records: Records) -> None:
    create(records, "queued")
    moved_at = read(records).updated_at
    reap(redis, settings, clock=lambda: moved_at + settings.maintenance_seconds / 2)
    assert queue(redis, TASKS["decode"][0]).job_ids == []


def test_a_second_look_changes_nothing(redis: Redis, settings: WorkerSettings, records: Records) -> None:
    create(records, "waiting")
    reap_later(redis, settings)
    once = snapshot(redis)
    reap_later(redis, settings, 20)
    assert snapshot(redis) == once


def test_leftovers_of_a_job_without_record_are_erased(redis: Redis, settings: WorkerSettings, records: Records) -> None:
    create(records, "estimating")
    redis.set(f"{record_key(JOB)}:input", b"pixels")
    redis.delete(record_key(JOB))
    reap_later(redis, settings)
    assert redis.keys(f"{record_key(JOB)}*") == []
    assert redis.zcard(ACTIVE) == 0


@pytest.mark.parametrize(
    "broken", [{"request": "{"}, {"phase": "dreaming"}, {"phase": "done"}, {"samples_done": "many"}]
)
def test_a_record_that_cannot_be_read_is_ended_and_stops_nobody_elses_job(
    redis: Redis, settings: WorkerSettings, records: Records, broken: dict[str, str]
) -> None:
    upload = store_upload(settings, "a-broken")
    for job_id in ("a-broken", JOB):
        create(records, "queued", job_id)
    redis.hset(record_key("a-broken"), items=[part for field in broken.items() for part in field])
    with structlog.testing.capture_logs() as logged:
        reap_later(redis, settings)
    told = [entry["job_id"] for entry in logged if entry["event"] == "job record cannot be read"]
    assert told == ["a-broken"]
    assert records.active() == [JOB]
    assert queue(redis, TASKS["decode"][0]).job_ids == [rq_job_id(JOB, "decode")]
    ended = redis.hgetall(record_key("a-broken"))
    assert (ended[b"status"], json.loads(ended[b"error"])["code"]) == (b"failed", "internal_error")
    assert not upload.exists()


def test_jobs_whose_record_expired_leave_the_list(redis: Redis, settings: WorkerSettings, records: Records) -> None:
    create(records, "queued")
    records.cancel(JOB)
    redis.delete(record_key(JOB))
    reap_later(redis, settings, settings.job_ttl + 10)
    assert redis.zcard(JOBS) == 0


@pytest.mark.parametrize(("seconds", "kept"), [(3_500, True), (3_700, False)])
def test_an_upload_without_a_job_is_deleted_after_an_hour(
    redis: Redis, settings: WorkerSettings, seconds: float, kept: bool
) -> None:
    uploads = [store_upload(settings, name) for name in ("unknown", "unknown.part")]
    reap_later(redis, settings, seconds)
    assert [upload.exists() for upload in uploads] == [kept, kept]


def test_the_upload_of_an_active_job_is_kept_however_old(
    redis: Redis, settings: WorkerSettings, records: Records
) -> None:
    create(records, "queued")
    upload = store_upload(settings, JOB)
    os.utime(upload, (0, 0))
    reap_later(redis, settings)
    assert upload.exists()


def test_an_engine_without_a_worker_is_forgotten(redis: Redis, settings: WorkerSettings) -> None:
    catalogue = Catalogue(redis)
    for name in ("alive", "dead"):
        card = WorkerCard(name=name, device="cpu", dtype="float32", backbones=(), seen_at=0.0)
        catalogue.publish_worker(card)
    redis.hset("rq:worker:alive", "birth", "now")
    reap(redis, settings)
    assert [card.name for card in catalogue.workers()] == ["alive"]


def store_upload(settings: WorkerSettings, name: str) -> Path:
    settings.blobs_dir.mkdir(parents=True, exist_ok=True)
    path = settings.blobs_dir / name
    path.write_bytes(b"upload")
    return path


def snapshot(redis: Redis) -> dict[bytes, object]:
    """Returns everything in Redis but the list of queues, which RQ writes at each look, and the turns of entries."""
    left_out = (b"rq:queues", b"certrad:turns:")
    return {key: value for key, value in stored_values(redis).items() if not key.startswith(left_out)}


def test_maintenance_reads_no_record_for_outputs_that_are_young(redis: Redis, settings: WorkerSettings) -> None:
    redis.config_resetstat()
    reap(redis, settings)
    alone = reads(redis)
    settings.outputs_dir.mkdir(parents=True)
    for number in range(200):
        (settings.outputs_dir / f"{number:032x}").write_bytes(b"")
    reap(redis, settings)
    assert reads(redis) == 2 * alone
    assert len(list(settings.outputs_dir.iterdir())) == 200
    reap(redis, settings, clock=lambda: time.time() + 3_601)
    assert reads(redis) >= 200
    assert list(settings.outputs_dir.iterdir()) == []


def test_outputs_of_an_ended_job_go_in_time_though_a_clock_was_ahead(
    redis: Redis, records: Records, settings: WorkerSettings
) -> None:
    create(records, "queued")
    records.fail(JOB, "internal_error", "broken")
    settings.outputs_dir.mkdir(parents=True)
    output = settings.outputs_dir / JOB
    output.write_bytes(b"")
    late = time.time() + settings.output_ttl + 1
    os.utime(output, (late + 3_600, late + 3_600))
    reap(redis, settings, clock=lambda: late)
    assert not output.exists()


def reads(redis: Redis) -> int:
    """Returns how many hashes, such as the records of jobs, this Redis has read so far."""
    stats: dict[str, dict[str, int]] = redis.info("commandstats")
    return stats.get("cmdstat_hgetall", {}).get("calls", 0)
