"""The job store has room below a share of its memory, and always where it has no bound."""

import pytest
from redis import Redis

from certrad.workers.contract.job_store import StoreMemory, read_memory
from certrad.workers.local.redis_server import EmbeddedRedis


@pytest.mark.parametrize(("used", "size", "has_room"), [(80, 0, True), (81, 0, False), (70, 10, True), (70, 11, False)])
def test_room_ends_at_the_share(used: int, size: int, has_room: bool) -> None:
    assert StoreMemory(used=used, bound=100).has_room(size, share=0.8) is has_room


def test_a_store_without_a_bound_always_has_room() -> None:
    assert StoreMemory(used=1 << 50, bound=None).has_room(1 << 50, share=0.8)


def test_a_store_that_may_not_be_asked_has_room(redis: Redis, redis_server: EmbeddedRedis) -> None:
    redis.acl_setuser("worker", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    try:
        with Redis.from_url(redis_server.url, username="worker", password="any") as client:
            assert read_memory(client) == StoreMemory(used=0, bound=None)
    finally:
        redis.acl_deluser("worker")
