"""Job records on a real Redis: they outlive any wait, end once whatever state the store is in, and stay complete."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.result import ResultWarning
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.job import Created, JobRecord, Page, QueueFullError
from certrad.workers.contract.names import (
    ACTIVE,
    INTAKE_QUEUE,
    JOBS,
    PREFIX,
    document_key,
    events_key,
    input_key,
    ledger_key,
    record_key,
)
from certrad.workers.contract.payloads import HandOver, Payloads
from certrad.workers.contract.progress import SamplesDone
from certrad.workers.contract.queues import enqueue, queue, rq_job_id
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import events_of
from tests.support.image_facts import image_facts
from tests.support.results import abstained
from tests.support.shortages import fill

pytestmark = pytest.mark.integration

REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)
TTL = 600
HAND_OVER = HandOver(result=abstained(), document=b"document")
JOB = "job-1"


class Clock:
    """A time that moves when told."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(redis: Redis, clock: Clock) -> Records:
    return Records(redis, ttl=TTL, clock=clock)


@pytest.fixture
def small_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of its own that is quickly full."""
    with EmbeddedRedis(tmp_path / "redis", maxmemory="8mb") as server, Redis.from_url(server.url) as client:
        yield client


def create(records: Records, job_id: str = JOB, *, max_active: int = 10, replay: str | None = None) -> Created:
    return records.create(job_id, REQUEST, max_active=max_active, digest="0" * 64, idempotency_sha256=replay)


def read(records: Records, job_id: str = JOB) -> JobRecord:
    record = records.read(job_id)
    assert record is not None
    return record


def sampling(records: Records) -> SamplesDone:
    progress = read(records).progress
    assert isinstance(progress, SamplesDone)
    return progress


def test_the_record_of_an_active_job_does_not_expire(redis: Redis, records: Records) -> None:
    create(records)
    assert redis.ttl(record_key(JOB)) == -1
    records.enter(JOB, "decoding")
    assert redis.ttl(record_key(JOB)) == -1


def test_the_record_of_an_ended_job_expires(redis: Redis, records: Records) -> None:
    create(records)
    records.fail(JOB, "internal_error", "")
    assert 0 < redis.ttl(record_key(JOB)) <= TTL


def test_the_events_of_an_ended_job_go_long_before_its_record(redis: Redis) -> None:
    records = Records(redis, ttl=86_400)
    create(records)
    records.progress(JOB, samples_done=100, samples_total=10_100, counts=(1, 2), invalid=0)
    records.succeed(JOB, abstained(100), certificate="0" * 64)
    assert 0 < redis.ttl(events_key(JOB)) <= 600
    assert redis.ttl(record_key(JOB)) > 80_000


def test_of_an_ended_job_its_record_and_its_events_are_kept_and_nothing_else(redis: Redis, records: Records) -> None:
    payloads = Payloads(redis, ttl=TTL)
    create(records)
    payloads.put_input(JOB, b"pixels")
    payloads.put_step(JOB, "fixed", b"state")
    payloads.put_hand_over(JOB, HAND_OVER)
    assert redis.exists(input_key(JOB), ledger_key(JOB), document_key(JOB)) == 3
    records.succeed(JOB, abstained(100), certificate="0" * 64)
    kept = {key.decode() for key in redis.scan_iter(f"{PREFIX}:job:*")}
    assert kept == {record_key(JOB), events_key(JOB)}


def test_a_repeated_creation_finds_its_own_job(redis: Redis, records: Records) -> None:
    """A client sends the script again when the answer got lost."""
    first = create(records, max_active=1)
    records.enter(JOB, "decoding")
    again = create(records, max_active=1)
    assert (again.job_id, again.replayed) == (first.job_id, False)
    assert read(records).phase == "decoding"
    assert redis.zcard(ACTIVE) == 1


def test_a_repeated_creation_with_a_key_is_no_replay(records: Records) -> None:
    create(records, replay="1" * 64)
    again = create(records, replay="1" * 64)
    assert (again.job_id, again.replayed) == (JOB, False)


def test_another_creation_finds_the_queue_full(records: Records) -> None:
    create(records, max_active=1)
    with pytest.raises(QueueFullError):
        create(records, "job-2", max_active=1)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_ends_although_redis_is_full(small_redis: Redis, status: str) -> None:
    records = Records(small_redis, ttl=TTL)
    create(records)
    Payloads(small_redis, ttl=TTL).put_input(JOB, b"pixels")
    fill(small_redis)
    ended = records.cancel(JOB) if status == "cancelled" else records.fail(JOB, "internal_error", "full")
    assert ended
    assert read(records).status == status
    assert records.active() == []
    assert not small_redis.exists(input_key(JOB))


def test_an_input_of_an_ended_job_is_refused(redis: Redis, records: Records) -> None:
    payloads = Payloads(redis, ttl=TTL)
    create(records)
    records.cancel(JOB)
    assert not payloads.put_input(JOB, b"pixels")
    assert not redis.exists(input_key(JOB))


def test_a_document_of_an_ended_job_is_refused(redis: Redis, records: Records) -> None:
    payloads = Payloads(redis, ttl=TTL)
    create(records)
    records.cancel(JOB)
    assert not payloads.put_hand_over(JOB, HAND_OVER)
    assert not redis.exists(document_key(JOB))


def test_input_and_document_of_an_erased_job_are_refused(redis: Redis, records: Records) -> None:
    payloads = Payloads(redis, ttl=TTL)
    create(records)
    records.erase(JOB)
    assert not payloads.put_input(JOB, b"pixels")
    assert not payloads.put_hand_over(JOB, HAND_OVER)
    assert redis.keys(f"{record_key(JOB)}*") == []


def test_input_and_document_of_an_active_job_are_kept_for_their_time(redis: Redis, records: Records) -> None:
    payloads = Payloads(redis, ttl=TTL)
    create(records)
    assert payloads.put_input(JOB, b"pixels")
    assert payloads.put_hand_over(JOB, HAND_OVER)
    assert redis.get(input_key(JOB)) == b"pixels"
    assert payloads.read_hand_over(JOB) == HAND_OVER
    assert all(0 < redis.ttl(key) <= TTL for key in (input_key(JOB), document_key(JOB)))


def test_pages_reach_the_oldest_job_although_records_between_are_gone(
    redis: Redis, records: Records, clock: Clock
) -> None:
    for number in range(9):
        clock.now += 1
        create(records, f"job-{number}")
    redis.delete(*(record_key(f"job-{number}") for number in (2, 3, 4, 7)))
    assert _listed(records, limit=2) == ["job-8", "job-6", "job-5", "job-1", "job-0"]


def test_the_last_page_names_no_following_one(records: Records) -> None:
    create(records)
    assert records.listing.page(tenant=LOCAL_TENANT, before=float("inf"), limit=2) == Page(
        records=(read(records),), following=None
    )


def test_the_record_of_a_version_that_knew_one_kind_of_job_is_read(redis: Redis, records: Records) -> None:
    create(records)
    of_today = json.loads(redis.hget(record_key(JOB), "request") or b"")
    of_before = {name: value for name, value in of_today.items() if name != "kind"}
    redis.hset(record_key(JOB), "request", json.dumps(of_before))
    assert read(records).request == REQUEST


@pytest.mark.parametrize(
    "broken", [{"request": "{"}, {"samples_done": "many"}, {"phase": "dreaming"}, {"status": "odd"}, {"image": "{"}]
)
def test_a_page_leaves_out_records_that_cannot_be_read(
    redis: Redis, records: Records, clock: Clock, broken: dict[str, str]
) -> None:
    for job_id in ("old", "broken", "new"):
        clock.now += 1
        create(records, job_id)
    redis.hset(record_key("broken"), items=[part for field in broken.items() for part in field])
    assert _listed(records, limit=1) == ["new", "old"]


def test_an_active_job_is_listed_however_old(records: Records, clock: Clock) -> None:
    create(records)
    clock.now += 10 * TTL
    records.listing.forget_expired()
    assert _listed(records, limit=1) == [JOB]


def test_jobs_whose_record_expired_are_forgotten(redis: Redis, records: Records, clock: Clock) -> None:
    create(records)
    records.cancel(JOB)
    redis.delete(record_key(JOB))  # as Redis does in the end
    records.listing.forget_expired()
    assert redis.zcard(JOBS) == 1
    clock.now += TTL + 1
    records.listing.forget_expired()
    assert redis.zcard(JOBS) == 0


def test_finish_goes_before_every_decoding(redis: Redis, settings: WorkerSettings) -> None:
    for job_id in ("a", "b"):
        enqueue(redis, "decode", job_id, settings=settings, urgent=True, tenant="local")
    enqueue(redis, "finish", JOB, settings=settings, tenant="local")
    assert queue(redis, INTAKE_QUEUE).job_ids[0] == rq_job_id(JOB, "finish")


def test_a_succeeded_job_shows_the_samples_it_used(records: Records) -> None:
    create(records)
    records.progress(JOB, samples_done=100, samples_total=10_100, counts=(1, 2), invalid=0)
    records.succeed(JOB, abstained(164), certificate="0" * 64)
    assert sampling(records).samples_done == 164


def test_the_running_radius_is_kept_where_there_is_one(records: Records) -> None:
    create(records)
    records.progress(JOB, samples_done=100, samples_total=10_100, counts=(1, 2), invalid=0)
    assert sampling(records).running_radius is None
    records.progress(JOB, samples_done=200, samples_total=10_100, counts=(1, 2), invalid=0, running_radius=0.0812)
    assert sampling(records).running_radius == 0.0812


def test_a_failed_job_shows_the_samples_it_came_to(records: Records) -> None:
    create(records)
    records.progress(JOB, samples_done=100, samples_total=10_100, counts=(1, 2), invalid=0)
    records.fail(JOB, "internal_error", "")
    assert sampling(records).samples_done == 100


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_an_ended_job_never_changes_again(redis: Redis, records: Records, end: str) -> None:
    create(records)
    match end:
        case "succeed":
            records.succeed(JOB, abstained(100), certificate="0" * 64)
        case "fail":
            records.fail(JOB, "internal_error", "")
        case "cancel":
            records.cancel(JOB)
    before = read(records), redis.xlen(events_key(JOB))
    changed = [
        records.enter(JOB, "estimating"),
        records.progress(JOB, samples_done=1, samples_total=10_100, counts=(1, 0), invalid=0),
        records.succeed(JOB, abstained(1), certificate="1" * 64),
        records.fail(JOB, "worker_lost", ""),
        records.cancel(JOB),
    ]
    assert not any(changed)
    assert (read(records), redis.xlen(events_key(JOB))) == before


def test_a_phase_that_goes_on_is_told_once(redis: Redis, records: Records) -> None:
    create(records)
    for phase in ("estimating", "finishing", "finishing"):
        assert records.enter(JOB, phase)
    assert [data["phase"] for name, data in events_of(redis, JOB) if name == "phase"] == ["estimating", "finishing"]


def test_the_warnings_of_an_image_are_told_as_soon_as_it_is_decoded(redis: Redis, records: Records) -> None:
    create(records)
    records.enter(JOB, "decoding")
    records.enter(JOB, "waiting", image=replace(image_facts(), warnings=("low_contrast", "no_window")))
    told = [{"phase": "decoding"}, {"phase": "waiting", "warnings": ["low_contrast", "no_window"]}]
    assert [data for name, data in events_of(redis, JOB) if name == "phase"] == told


def test_the_last_event_says_how_it_ended(redis: Redis, records: Records) -> None:
    create(records)
    warning = ResultWarning(code="no_window", message="words")
    records.succeed(JOB, replace(abstained(100), warnings=(warning,)), certificate="0" * 64)
    told = {"status": "succeeded", "outcome": "abstained", "warnings": ["no_window"], "label": None, "radius": None}
    assert events_of(redis, JOB)[-1] == ("end", told)


def test_an_abstention_tells_its_lack_of_a_class(redis: Redis, records: Records) -> None:
    create(records)
    records.succeed(JOB, abstained(100), certificate="0" * 64)
    stored = json.loads(cast("bytes", redis.hget(record_key(JOB), "result")))
    assert {name: stored[name] for name in ("label", "class_index", "radius")} == {
        "label": None,
        "class_index": None,
        "radius": None,
    }


def _listed(records: Records, *, limit: int) -> list[str]:
    """The ids on all pages."""
    ids: list[str] = []
    before: float | None = float("inf")
    while before is not None:
        page = records.listing.page(tenant=LOCAL_TENANT, before=before, limit=limit)
        ids += [record.id for record in page.records]
        before = page.following
    return ids
