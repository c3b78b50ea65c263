"""A real Redis that takes no writes for a while, and takes them again."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.processes import wait_for


class Shortage:
    """One reason for which a server refuses writes; `begin` and `end` come back once it has taken effect."""

    def __init__(self, server: EmbeddedRedis) -> None:
        self.client = Redis.from_url(server.url)
        self.directory = server.directory

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def refuses(self) -> bool:
        """Returns whether the server refuses a small write."""
        try:
            self.client.set("probe", "1")
        except ResponseError:
            return True
        return False


class FullMemory(Shortage):
    def begin(self) -> None:
        self.client.config_set("maxmemory", self.client.info("memory")["used_memory"] // 2)
        wait_for(self.refuses)

    def end(self) -> None:
        self.client.config_set("maxmemory", 0)


class ReadOnly(Shortage):
    """Makes the server a replica of one that is gone, as a failover may leave it."""

    def begin(self) -> None:
        self.client.replicaof("127.0.0.1", 1)
        wait_for(self.refuses)

    def end(self) -> None:
        self.client.replicaof("NO", "ONE")


class FailedSnapshot(Shortage):
    """Makes the server fail to persist, so that it says MISCONF, as on a full disk."""

    @property
    def _obstacle(self) -> Path:
        return self.directory / "dump.rdb"

    def begin(self) -> None:
        self._obstacle.mkdir()
        self.client.config_set("save", "3600 1")
        self._snapshot()
        wait_for(self.refuses)

    def end(self) -> None:
        self._obstacle.rmdir()
        wait_for(self._snapshot)

    def _snapshot(self) -> bool:
        with suppress(ResponseError):
            self.client.bgsave()
        wait_for(lambda: self.client.info("persistence")["rdb_bgsave_in_progress"] == 0)
        return str(self.client.info("persistence")["rdb_last_bgsave_status"]) == "ok"


SHORTAGES: Final[dict[str, Callable[[EmbeddedRedis], Shortage]]] = {
    "full": FullMemory,
    "read-only": ReadOnly,
    "failed snapshot": FailedSnapshot,
}


def fill(redis: Redis) -> None:
    """Writes until the server refuses, a small value included."""
    for size in (1 << 16, 1 << 8, 1):
        with suppress(OutOfMemoryError):
            while True:
                redis.rpush("ballast", b"x" * size)
