"""Hundreds follow jobs at once and all end right, also when Redis goes and comes back."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from certrad.app.api import events
from certrad.app.api.news import News
from certrad.app.settings import ApiSettings
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.api import PNG
from tests.support.api_server import api_server
from tests.support.processes import wait_for

MANY = 300
SECONDS = 240.0


@pytest.fixture
def roomy(api_settings: ApiSettings) -> Iterator[str]:
    """The address of an API that takes many jobs and lets clients wait for long."""
    with api_server(
        api_settings.model_copy(update={"max_queued": 1_000, "max_queued_of_tenant": 1_000, "max_wait": 300.0})
    ) as address:
        yield address


async def wait_for_end(client: httpx.AsyncClient) -> tuple[int, str]:
    """Submits an image, waits for the end of its job, and gives the status of the response and of the job."""
    answer = await client.post("/certify", content=PNG, headers={"prefer": "wait=300"})
    return answer.status_code, str(answer.json().get("status"))


async def follow_to_end(client: httpx.AsyncClient, job_id: str, following: asyncio.Semaphore) -> list[str]:
    """Follows a job and gives the names of its events."""
    async with client.stream("GET", f"/jobs/{job_id}/events") as response:
        lines = response.aiter_lines()
        names = []
        async for line in lines:
            if line.startswith("retry:"):
                following.release()
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
    return names


def test_hundreds_of_waits_and_event_streams_all_end_right(roomy: str, records: Records) -> None:
    async def scene() -> tuple[list[tuple[int, str]], list[list[str]]]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=roomy, timeout=SECONDS, limits=limits) as client:
            followed = (await client.post("/certify", content=PNG)).json()["id"]
            following = asyncio.Semaphore(0)
            streams = [asyncio.create_task(follow_to_end(client, followed, following)) for _ in range(MANY)]
            waits = [asyncio.create_task(wait_for_end(client)) for _ in range(MANY)]
            for _ in range(MANY):
                await following.acquire()
            await asyncio.to_thread(wait_for, lambda: len(records.active()) == MANY + 1, timeout=SECONDS)
            records.enter(followed, "decoding")
            for job_id in records.active():
                records.cancel(job_id)
            return await asyncio.gather(*waits), await asyncio.gather(*streams)

    answers, streams = asyncio.run(scene())
    assert answers == [(200, "cancelled")] * MANY
    assert streams == [["phase", "end"]] * MANY


@asynccontextmanager
async def source_at(url: str) -> AsyncIterator[events.Source]:
    """Yields a source of the events of jobs, on a client of its own."""
    async with AsyncRedis.from_url(url, protocol=2) as client:
        news = News(client)
        yield events.Source(redis=client, news=news)
        await news.close()


@pytest.fixture
def job_id(api_url: str) -> str:
    """A queued job."""
    return str(httpx.post(f"{api_url}/certify", content=PNG).json()["id"])


def test_a_follower_hears_on_after_its_connection_was_cut(
    job_id: str, redis: Redis, records: Records, redis_server: EmbeddedRedis
) -> None:
    async def read() -> list[str]:
        names = []
        async with source_at(redis_server.url) as source:
            records.enter(job_id, "decoding")
            async for event in events.follow(source, job_id, beat=SECONDS):
                assert event is not None, "no news came"
                names.append(event.name)
                if len(names) == 1:
                    wait_for(lambda: redis.pubsub_numsub("certrad:news")[0][1])
                    redis.client_kill_filter(_type="pubsub")
                    records.enter(job_id, "waiting")
                elif len(names) == 2:
                    records.cancel(job_id)
        return names

    async def scene() -> list[str]:
        return await asyncio.wait_for(read(), SECONDS / 2)

    assert asyncio.run(scene()) == ["phase", "phase", "end"]


def test_a_follower_that_reads_late_misses_nothing(job_id: str, records: Records, redis_server: EmbeddedRedis) -> None:
    async def read() -> list[int]:
        done = []
        async with source_at(redis_server.url) as source:
            records.progress(job_id, samples_done=0, samples_total=10_100, counts=(0,), invalid=0)
            async for event in events.follow(source, job_id, beat=SECONDS):
                assert event is not None
                if event.name == "end":
                    break
                done.append(json.loads(event.data)["samples_done"])
                if len(done) == 1:
                    for number in range(1, 250):
                        records.progress(job_id, samples_done=number, samples_total=10_100, counts=(0,), invalid=0)
                    records.cancel(job_id)
        return done

    assert asyncio.run(read()) == list(range(250))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis that a test may stop."""
    with EmbeddedRedis(tmp_path / "own") as server:
        yield server


@pytest.fixture
def own_settings(own_redis: EmbeddedRedis, api_settings: ApiSettings) -> ApiSettings:
    """Settings of an API on that Redis."""
    return api_settings.model_copy(update={"redis_url": own_redis.url, "redis_timeout": 1.0})


class Submission:
    """A submission that waits for its end in a thread."""

    def __init__(self, url: str, *, seconds: int, **headers: str) -> None:
        self._answers: list[httpx.Response] = []
        wish = {"prefer": f"wait={seconds}", **headers}
        self._thread = threading.Thread(
            target=lambda: self._answers.append(
                httpx.post(f"{url}/certify", content=PNG, headers=wish, timeout=SECONDS)
            )
        )
        self._thread.start()

    def answer(self) -> httpx.Response:
        """The response."""
        self._thread.join()
        return self._answers[0]


def is_followed(redis: Redis) -> bool:
    """Returns whether the API listens for news, as it does once somebody waits."""
    return bool(redis.pubsub_numsub("certrad:news")[0][1])


@pytest.mark.parametrize("replayed", [False, True])
def test_a_wait_during_which_redis_goes_is_answered_with_the_job(
    own_settings: ApiSettings, own_redis: EmbeddedRedis, replayed: bool
) -> None:
    with api_server(own_settings) as url, Redis.from_url(own_redis.url) as redis:
        first = None
        if replayed:
            first = httpx.post(f"{url}/certify", content=PNG, headers={"idempotency-key": "k"}).json()
        submission = Submission(url, seconds=5, **{"idempotency-key": "k"})
        wait_for(lambda: is_followed(redis), what="the wait")
        own_redis.stop()
        answer = submission.answer()
        assert answer.status_code == 202
        job = answer.json()
        assert job["status"] == "queued"
        assert answer.headers["location"] == f"/jobs/{job['id']}"
        if first is not None:
            assert (job["id"], job["request"]) == (first["id"], first["request"])
        own_redis.start()
        assert httpx.get(f"{url}/jobs/{job['id']}").json()["request"] == job["request"]


def test_a_wait_goes_on_when_redis_is_back(own_settings: ApiSettings, own_redis: EmbeddedRedis) -> None:
    settings = own_settings.model_copy(update={"max_wait": SECONDS})
    with api_server(settings) as url, Redis.from_url(own_redis.url) as redis:
        submission = Submission(url, seconds=int(SECONDS))
        wait_for(lambda: is_followed(redis), what="the wait")
        own_redis.stop()
        own_redis.start()
        records = Records(redis, ttl=settings.job_ttl)
        records.cancel(records.active()[0])
        answer = submission.answer()
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_a_job_that_is_erased_while_its_client_waits_is_no_error(api_url: str, redis: Redis, records: Records) -> None:
    submission = Submission(api_url, seconds=1)
    wait_for(lambda: is_followed(redis), what="the wait")
    records.erase(records.active()[0])
    assert submission.answer().status_code == 202
