"""Workers wait for a Redis that takes no writes for a while, and no job notices."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from certrad.workers.connection import connect, quiet_seconds
from certrad.workers.contract.waiting import refuses_writes
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.processes import wait_for
from tests.support.shortages import SHORTAGES, FullMemory, Shortage

pytestmark = pytest.mark.integration


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of the test's own."""
    with EmbeddedRedis(tmp_path / "redis", maxmemory="64mb") as server:
        yield server


@pytest.fixture(params=SHORTAGES)
def shortage(request: pytest.FixtureRequest, own_redis: EmbeddedRedis) -> Shortage:
    return SHORTAGES[request.param](own_redis)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def set_in_pipeline(client: Redis, key: str = "a", *, transaction: bool) -> None:
    with client.pipeline(transaction=transaction) as pipe:
        pipe.set(key, "1")
        pipe.execute()


def refused(shortage: Shortage) -> int:
    """The commands that the server has refused, as its statistics count them."""
    return int(shortage.client.info("stats")["total_error_replies"])


def test_the_refusal_is_recognised_alone_in_a_transaction_and_in_a_script(shortage: Shortage) -> None:
    client = shortage.client
    shortage.begin()
    errors = []
    for write in (
        lambda: client.set("a", "1"),
        lambda: set_in_pipeline(client, transaction=True),
        lambda: set_in_pipeline(client, transaction=False),
        lambda: client.eval("return redis.call('SET', KEYS[1], '1')", 1, "a"),
    ):
        with pytest.raises(ResponseError) as raised:
            write()
        errors.append(raised.value)
    assert all(map(refuses_writes, errors))


def test_an_answer_about_the_command_is_no_such_refusal(redis: Redis) -> None:
    redis.set("a", "1")
    with pytest.raises(ResponseError) as raised:
        redis.hset("a", "field", "MISCONF of the value")
    assert not refuses_writes(raised.value)


def test_writes_wait_until_redis_takes_them(own_redis: EmbeddedRedis, shortage: Shortage) -> None:
    client = connect(WorkerSettings(redis_url=own_redis.url))
    client.set("before", "1")
    shortage.begin()
    begun = refused(shortage)

    def write() -> None:
        client.set("alone", "1")
        set_in_pipeline(client, "together", transaction=True)
        client.eval("return redis.call('SET', KEYS[1], '1')", 1, "by script")

    writing = in_background(write)
    wait_for(lambda: refused(shortage) > begun + 2)
    assert writing.is_alive()
    shortage.end()
    wait_for(lambda: not writing.is_alive())
    assert client.exists("alone", "together", "by script") == 3


def test_a_process_that_is_to_stop_waits_no_longer(own_redis: EmbeddedRedis) -> None:
    shortage = FullMemory(own_redis)
    shortage.begin()
    stopping = threading.Event()
    client = connect(WorkerSettings(redis_url=own_redis.url), is_stopping=stopping.is_set)
    raised: list[Exception] = []

    def write() -> None:
        try:
            client.set("a", "1")
        except OutOfMemoryError as error:
            raised.append(error)

    writing = in_background(write)
    begun = refused(shortage)
    wait_for(lambda: refused(shortage) > begun)
    assert writing.is_alive()
    stopping.set()
    wait_for(lambda: not writing.is_alive())
    assert len(raised) == 1


def test_a_client_knows_how_long_redis_has_been_quiet(own_redis: EmbeddedRedis) -> None:
    shortage, client = FullMemory(own_redis), connect(WorkerSettings(redis_url=own_redis.url))
    client.set("a", "1")
    assert quiet_seconds(client) == float("inf")
    shortage.begin()
    writing, began = in_background(lambda: client.set("a", "2")), time.monotonic()
    wait_for(lambda: quiet_seconds(client) < float("inf"))
    shortage.end()
    wait_for(lambda: not writing.is_alive())
    assert quiet_seconds(client) <= time.monotonic() - began
