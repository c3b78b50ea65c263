"""Finds the children that run and yet do not serve: the API, the embedded Redis, and workers without a heartbeat."""

from collections.abc import Iterable
from typing import Final

from certrad.workers.local.probe import Question
from certrad.workers.local.store_view import StoreView
from certrad.workers.local.supervisor import Child
from certrad.workers.local.watch import HeartbeatWatch, ProbeWatch
from certrad.workers.queue.heartbeats import longest_silence

_LOOK_SECONDS: Final = 2.0  # between two looks at the heartbeats


class ServiceWatch:
    """Watches children of the stack."""

    def __init__(
        self,
        store: StoreView,
        *,
        api: tuple[Child, Question],
        redis: tuple[Child, Question] | None,
        workers: Iterable[Child],
        heartbeat_seconds: int,
    ) -> None:
        """Begins with every child unknown.

        Args:
            store: Redis, as the workers have it.
            api: The API, and what to ask it.
            redis: The embedded Redis, and what to ask it; None if Redis is not a child.
            workers: The RQ workers.
            heartbeat_seconds: Seconds between two heartbeats of a worker.
        """
        self._store = store
        self._redis = None if redis is None else ProbeWatch(redis[1])
        self._probed = [(api[0], ProbeWatch(api[1]))]
        if redis is not None and self._redis is not None:
            self._probed.append((redis[0], self._redis))
        self._workers = [(worker, HeartbeatWatch(longest_silence(heartbeat_seconds))) for worker in workers]
        self._look_at = 0.0

    def hung(self, now: float) -> list[Child]:
        """Returns the children that run and do not serve.

        A probe is asked without waiting; for the heartbeats Redis has a second to answer, and is asked only while its
        own probes are answered.

        Args:
            now: Monotonic seconds.
        """
        silent = [child for child, watch in self._probed if (pid := child.pid) is not None and watch.probe(pid, now)]
        return [*silent, *self._without_heartbeat(now)]

    def close(self) -> None:
        """Gives up the probes that are on their way."""
        for _, watch in self._probed:
            watch.close()

    def _without_heartbeat(self, now: float) -> list[Child]:
        """Returns the workers whose heartbeat stands still although they could write it."""
        if now < self._look_at or (self._redis is not None and not self._redis.answers):
            return []
        self._look_at = now + _LOOK_SECONDS
        heartbeats = self._store.heartbeats() if self._store.has_room() else None
        if heartbeats is None:
            return []
        return [
            child
            for child, watch in self._workers
            if (pid := child.pid) is not None and watch.observe(pid, heartbeats.get(pid), now)
        ]
