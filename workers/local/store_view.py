"""What the supervisor asks Redis: whether it has room, who has a heartbeat, whether an engine is ready."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry
from rq.worker_registration import REDIS_WORKER_KEYS

from certrad.workers.contract.data_version import open_store
from certrad.workers.contract.names import PREFIX, WORKERS
from certrad.workers.contract.queues import worker_exists
from certrad.workers.contract.redis_access import redis_options
from certrad.workers.contract.settings import SharedSettings

_TIMEOUT_SECONDS: Final = 1.0  # the supervisor waits so long for one answer
_FULL: Final = 0.95  # of its memory


class StoreView:
    """Asks Redis, each time on a new connection: an old one answers even if no new one can be made."""

    def __init__(self, settings: SharedSettings) -> None:
        self._options = redis_options(settings)

    def open(self) -> None:
        """Makes what Redis holds data of this version; one that does not answer is asked by the workers.

        Raises:
            DataVersionError: Its version is unknown.
        """
        with suppress(RedisError), self._connected() as redis:
            open_store(redis)

    def has_room(self) -> bool:
        """Returns whether Redis answers, takes writes, and has a twentieth of its memory left.

        A full one takes no writes, nor one that cannot write its file. Close to the limit of its memory, whether it
        takes one depends on the buffers of that moment.
        """
        try:
            with self._connected() as redis:
                redis.set(f"{PREFIX}:ready", "1", ex=10)
                memory = cast("Mapping[str, int]", redis.info("memory"))
        except NoPermissionError:  # it took the write, and does not tell its memory
            return True
        except RedisError:
            return False
        used = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)
        return memory["maxmemory"] == 0 or used < _FULL * memory["maxmemory"]

    def has_engine(self) -> bool:
        """Returns whether an engine has published its card, and its worker has a heartbeat."""
        try:
            with self._connected() as redis:
                names = cast("list[bytes]", redis.hkeys(WORKERS))
                return any(worker_exists(redis, name.decode()) for name in names)
        except RedisError:
            return False

    def heartbeats(self) -> dict[int, bytes] | None:
        """Returns the last heartbeat of every worker on this machine, by its process id; None if Redis does not answer.

        Workers that lost their entry in Redis are left out.
        """
        try:
            with self._connected() as redis:
                keys = cast("set[bytes]", redis.smembers(REDIS_WORKER_KEYS))
                with redis.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.hmget(key, "hostname", "pid", "last_heartbeat")
                    answers = cast("list[list[bytes | None]]", pipe.execute())
        except RedisError:
            return None
        here = socket.gethostname().encode()
        return {
            int(pid): heartbeat
            for hostname, pid, heartbeat in answers
            if hostname == here and pid is not None and heartbeat is not None
        }

    @contextmanager
    def _connected(self) -> Iterator[Redis]:
        with Redis.from_url(
            **self._options,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as redis:
            yield redis
