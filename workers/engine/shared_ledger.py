"""The ledger of a job that several engines work on at once, from the side of the engine that has the job."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from certrad.models.smoothing.blocks import Layout
from certrad.workers.engine.claims import Claims, limit_of
from certrad.workers.engine.ledger import LABEL_BYTES, RedisLedger

_POLL_SECONDS: Final = 0.02
_PATIENCE_BATCHES: Final = 2.0
_PATIENCE_SECONDS: Final = (0.2, 60.0)


@dataclass(slots=True)
class OwnShare:
    """The share of one engine in the estimation samples of a certificate.

    Attributes:
        samples: Samples that this engine labelled.
        waited: Seconds in which it waited for the labels of other engines.
    """

    samples: int = 0
    waited: float = 0.0


class SharedLedger(RedisLedger):
    """A ledger whose batches are claimed before they are computed (satisfies `smoothing.SharedBlocks`)."""

    def __init__(
        self,
        redis: Redis,
        job_id: str,
        *,
        ttl: int,
        raise_if_stopped: Callable[[], None],
        part: str = "",
        engine: str = "",
        on_redone: Callable[[bool], None] | None = None,
        share: OwnShare | None = None,
    ) -> None:
        """Opens the ledger; see `RedisLedger`.

        Args:
            redis: The job store.
            job_id: The job's id.
            ttl: Seconds that it is kept.
            raise_if_stopped: Called after each commit; raises to stop.
            part: Name of one of several runs of samples.
            engine: Name of the engine that commits.
            on_redone: Called when a block was committed before.
            share: What this engine labels is added to it, and its waits; the runs of one certificate have one share.
        """
        super().__init__(
            redis, job_id, ttl=ttl, raise_if_stopped=raise_if_stopped, part=part, engine=engine, on_redone=on_redone
        )
        self._share = OwnShare() if share is None else share
        self._claims = Claims(redis=redis, job_id=job_id, run=part, ttl=ttl)
        self._layout: Layout | None = None
        self._may_stop_early = False
        self._nothing_since: float | None = None  # monotonic seconds; every claim of another engine is older

    def begin(self, layout: Layout, *, may_stop_early: bool) -> None:
        """Lets other engines claim batches; see `SharedBlocks.begin`.

        Args:
            layout: How the samples are cut.
            may_stop_early: Whether the labels may decide before n.

        Raises:
            JobEndedError: The job has ended.
        """
        self._layout, self._may_stop_early = layout, may_stop_early
        self._claims.begin(layout)

    def claim(self, decided: int) -> int | None:
        """Returns a batch that nobody has claimed or committed, or None; see `SharedBlocks.claim`.

        Args:
            decided: Samples that are counted already.

        Raises:
            JobEndedError: The job has ended.
            RuntimeError: The run was not begun.
        """
        if self._layout is None:
            raise RuntimeError("begin() must run before the first claim")
        start = self._claims.lead(limit_of(self._layout, decided, may_stop_early=self._may_stop_early))
        if start is not None:
            self._nothing_since = None
        elif self._nothing_since is None:
            self._nothing_since = time.monotonic()
        return start

    def commit(self, start: int, labels: bytes) -> bytes:
        """Commits labels that this engine computed; see `RedisLedger.commit`.

        Args:
            start: Index of the first sample.
            labels: Little-endian uint16.

        Returns:
            The committed labels.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        self._share.samples += len(labels) // LABEL_BYTES
        return super().commit(start, labels)

    def await_helpers(self, starts: Iterable[int]) -> dict[int, bytes]:
        """Returns the labels of blocks that other engines compute: all of them, or those that came in good time.

        That is the time of two batches after there was nothing left to claim, once for all batches that are out.

        Args:
            starts: First samples of blocks.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        shortest, longest = _PATIENCE_SECONDS
        patience = min(max(_PATIENCE_BATCHES * (self._claims.seconds_per_batch or 0.0), shortest), longest)
        since = time.monotonic() if self._nothing_since is None else self._nothing_since
        wanted, deadline, began = list(starts), since + patience, time.monotonic()
        while len(found := self.read(wanted)) < len(wanted) and time.monotonic() < deadline:
            self.check()
            time.sleep(_POLL_SECONDS)
        self._share.waited += time.monotonic() - began
        return found

    def leave(self) -> None:
        """Gives claims back that this engine did not commit."""
        self._claims.release()

    def end(self) -> None:
        """Ends the run: an engine that helps finds nothing to claim any more."""
        self._claims.end()
