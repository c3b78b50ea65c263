"""The pixels of an ended job leave the append-only file of Redis once no job is active."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.workers.contract.names import input_key
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.queue.append_only_file import rewrite_when_idle
from certrad.workers.queue.maintenance import reap
from tests.conftest import worker_settings
from tests.support.processes import wait_for

pytestmark = pytest.mark.integration

PIXELS = b"pixels of a patient"
REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}")
)
LATER = 1e10  # seconds since 1970; the pause between two rewrites is over


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def redis(server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, ttl=86_400)


@pytest.fixture
def holds_pixels(server: EmbeddedRedis) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return any(PIXELS in path.read_bytes() for path in (server.directory / "appendonlydir").iterdir())
        except FileNotFoundError:  # replaced between the two
            return True

    return look


def create(redis: Redis, records: Records, job_id: str) -> None:
    records.create(job_id, REQUEST, max_active=10, digest="digest")
    redis.set(input_key(job_id), PIXELS)


def rewrite(redis: Redis, now: float) -> bool:
    """Asks at a time, and waits until the rewrite has ended."""
    asked = rewrite_when_idle(redis, clock=lambda: now)
    wait_for(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], what="the end of the rewrite")
    return asked


@pytest.mark.parametrize("erased", [False, True])
def test_the_pixels_of_an_ended_job_leave_the_file(
    tmp_path: Path,
    server: EmbeddedRedis,
    redis: Redis,
    records: Records,
    holds_pixels: Callable[[], bool],
    erased: bool,
) -> None:
    create(redis, records, "job-1")
    records.cancel("job-1")
    if erased:
        records.erase("job-1")
    assert holds_pixels()
    reap(redis, worker_settings(server.url, tmp_path / "data"))
    wait_for(lambda: not holds_pixels(), what="a file without the pixels")


def test_the_pixels_of_a_job_that_was_erased_after_a_rewrite_leave_the_file(
    redis: Redis, records: Records, holds_pixels: Callable[[], bool]
) -> None:
    assert rewrite(redis, LATER)
    create(redis, records, "job-1")
    records.erase("job-1")
    assert holds_pixels()
    assert rewrite(redis, 2 * LATER)
    assert not holds_pixels()


def test_while_a_job_is_active_the_file_is_left_alone(redis: Redis, records: Records) -> None:
    create(redis, records, "job-1")
    create(redis, records, "job-2")
    records.cancel("job-2")
    assert not rewrite(redis, LATER)


def test_a_file_is_rewritten_once_for_the_same_jobs(redis: Redis, records: Records) -> None:
    create(redis, records, "job-1")
    records.cancel("job-1")
    assert [rewrite(redis, times * LATER) for times in (1, 2)] == [True, False]


def test_two_rewrites_lie_five_minutes_apart(redis: Redis, records: Records) -> None:
    asked = []
    for seconds in (0, 299, 301):
        create(redis, records, f"job-{seconds}")
        records.cancel(f"job-{seconds}")
        asked.append(rewrite(redis, LATER + seconds))
    assert asked == [True, False, True]


def test_a_file_that_has_grown_is_rewritten(redis: Redis) -> None:
    redis.config_set("auto-aof-rewrite-percentage", 0)  # by itself it never does
    rewrite(redis, LATER)
    for _ in range(65):
        redis.set("other", bytes(1 << 20))
    redis.delete("other")
    assert rewrite(redis, 2 * LATER)


def test_a_redis_without_such_a_file_is_left_alone(redis: Redis, records: Records) -> None:
    redis.config_set("appendonly", "no")
    create(redis, records, "job-1")
    records.cancel("job-1")
    assert not rewrite(redis, LATER)


def test_a_redis_that_does_not_allow_it_is_left_alone(server: EmbeddedRedis, redis: Redis, records: Records) -> None:
    create(redis, records, "job-1")
    records.cancel("job-1")
    redis.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-bgrewriteaof"])
    with Redis.from_url(server.url, username="guest", password="any") as guest:
        assert not rewrite(guest, LATER)
