"""The news of jobs: one connection to Redis that wakes the followers of a job when the job has a new event."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from certrad.workers.contract.names import NEWS

_LISTEN_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.2


class News:
    """Wakes the followers of each job. It holds one connection, however many follow.

    The news say only that there is something to read: each follower reads the job's stream from its own position. So a
    slow follower costs no memory, and nothing is lost when the connection is: everybody is woken when it is back.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def followed(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yields an event that is set after each change of a job; the first follower opens the connection.

        Args:
            job_id: The job's id.
        """
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())
        woken = asyncio.Event()
        self._followers.setdefault(job_id, set()).add(woken)
        try:
            yield woken
        finally:
            of_job = self._followers[job_id]
            of_job.discard(woken)
            if not of_job:
                del self._followers[job_id]

    async def close(self) -> None:
        """Closes the connection."""
        while self._listening is not None and not self._listening.done():
            self._listening.cancel()  # once is not always enough: redis-py can take it for a lost connection
            await asyncio.wait([self._listening], timeout=_PAUSE_SECONDS)

    async def _listen(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(NEWS)
                    await self._hear(channel)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _hear(self, channel: PubSub) -> None:
        while True:
            message = await cast("Any", channel.get_message(timeout=_LISTEN_SECONDS))
            if message is None:
                continue
            if message["type"] == "subscribe":  # also after redis-py has connected again by itself
                for job_id in self._followers:
                    self._wake(job_id)
            elif message["type"] == "message":
                self._wake(message["data"].decode())

    def _wake(self, job_id: str) -> None:
        for woken in self._followers.get(job_id, ()):
            woken.set()
