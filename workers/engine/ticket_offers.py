"""The tickets that an engine offers: it asks idle engines to take part in the certificate that it has."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from certrad.models.types import AdapterCard
from certrad.workers.contract.names import ENGINE_QUEUE, adapter_bytes_key
from certrad.workers.contract.queues import alive_engines, alive_workers, queue
from certrad.workers.contract.tickets import offer, withdraw
from certrad.workers.engine.runtime import Runtime

_OFFER_SECONDS: Final = 1.0


@dataclass(slots=True, kw_only=True)
class TicketOffers:
    """The tickets of one job, put into the queue while idle engines would be of use to it.

    Nothing is offered while anything waits for an engine: a certificate of its own is worth more than help.

    Attributes:
        runtime: The state of the engine process.
        job_id: The job's id.
        backbone: The backbone that an engine must have.
        adapter: The adapter whose bytes an engine must have, or find in Redis; None for the frozen image tower.
        samples: Samples of one run.
        batch_size: Samples of one batch.
        may_stop_early: Whether the labels may decide before the run is complete.
        clock: Monotonic seconds.
    """

    runtime: Runtime
    job_id: str
    backbone: str
    samples: int
    batch_size: int
    may_stop_early: bool
    adapter: AdapterCard | None = None
    clock: Callable[[], float] = time.monotonic
    _first: tuple[float, int] | None = field(default=None, init=False)
    _offered_at: float = field(default=0.0, init=False)
    _tickets: list[str] = field(default_factory=list, init=False)

    def consider(self, done: int) -> None:
        """Offers a ticket to every idle engine that fits, if the job takes long enough from here on.

        Args:
            done: Estimation samples that are done, of all runs.
        """
        now = self.clock()
        if self._first is None:
            self._first = (now, done)
            return
        left = self._samples_left(done)
        seconds_left = left * self._seconds_per_sample(now, done)
        if now - self._offered_at < _OFFER_SECONDS or seconds_left < self.runtime.settings.share_seconds:
            return
        self._offered_at = now
        if number := min(self._idle_engines(), left // self.batch_size):
            self._tickets = offer(self.runtime.redis, self.job_id, number, settings=self.runtime.settings)

    def end(self) -> None:
        """Takes back the tickets that no engine has taken."""
        withdraw(self.runtime.redis, self._tickets)
        self._tickets = []

    def _samples_left(self, done: int) -> int:
        """Returns the samples that this run still takes; of one that may stop early, as many as it took so far."""
        left = self.samples - done % self.samples
        return min(left, done) if self.may_stop_early else left

    def _seconds_per_sample(self, now: float, done: int) -> float:
        began, first = self._first or (now, done)
        return (now - began) / (done - first) if done > first else 0.0

    def _idle_engines(self) -> int:
        """Returns the number of idle engines of this kind with backbone and adapter; 0 while anything waits."""
        redis = self.runtime.redis
        if redis.llen(queue(redis, ENGINE_QUEUE).key):
            return 0
        needed = self.adapter.id if self.adapter and not redis.exists(adapter_bytes_key(self.adapter.sha256)) else None
        idle = {worker.name for worker in alive_workers(redis, ENGINE_QUEUE) if worker.state == "idle"}
        return sum(
            card.name in idle
            and self.backbone in card.backbones
            and (needed is None or needed in card.adapters)
            and card.kind == self.runtime.kind
            for card in alive_engines(redis, self.runtime.catalogue)
        )
