"""Estimates when the jobs of this installation will be done, from queues that it reads at most once a second."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, cast

from redis import Redis

from certrad.app.api.problems import TryLater
from certrad.app.api.queue_state import QueueReader, QueueState
from certrad.models.types import CertifyRequest
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.progress import SamplesDone
from certrad.workers.contract.submission import Submission

_PERIOD_SECONDS: Final = 1.0
_SHARE_OF_TIME: Final = 0.05  # that working out a long queue may take of this process
_MOST_RETRY_SECONDS: Final = 3_600

NO_ENGINE: Final = "no engine is running"
NOT_MEASURED: Final = "no engine has measured yet how long this job, or one before it, takes"
AT_LEAST: Final = "it takes at least so long: the windows to try are counted when the image is decoded"
TUNING: Final = "nobody knows how long a tuning takes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTimes:
    """The times that a job can expect.

    Attributes:
        wait: Seconds until an engine has it; None if unknown.
        run: Seconds of work that are left then; None if unknown.
        reason: Why one of them is unknown, or only a lower bound.
    """

    wait: float | None
    run: float | None
    reason: str | None = None

    @property
    def total(self) -> float | None:
        """Returns the seconds until the end; None if unknown."""
        return None if self.wait is None or self.run is None else self.wait + self.run


class Estimates:
    """Estimates waits and runs of this installation's jobs."""

    def __init__(
        self,
        redis: Redis,
        *,
        tuning_slice_seconds: float,
        share_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads nothing before the first question.

        Args:
            redis: The job store.
            tuning_slice_seconds: Seconds that a tuning has while certificates wait.
            share_seconds: Seconds that a certificate must still take for its engine to ask idle engines to help.
            clock: Seconds.
        """
        self._reader = QueueReader(redis, tuning_slice_seconds=tuning_slice_seconds, share_seconds=share_seconds)
        self._clock = clock
        self._reading = Lock()
        self._state: QueueState | None = None
        self._until = -math.inf

    def of(self, record: JobRecord) -> ExpectedTimes | None:
        """Returns what a job can expect; None once it has ended.

        Args:
            record: The record of the job.
        """
        if record.ended:
            return None
        state, request = self._current(), record.request
        wait = state.wait_of(record)
        if not isinstance(request, CertifyRequest):
            return ExpectedTimes(wait=wait, run=None, reason=TUNING)
        if record.phase == "finishing":
            return ExpectedTimes(wait=0.0, run=state.speeds.stage("finish"))
        if wait is None:  # it came after the queues were read
            wait = state.wait_of_new(record.submission.tenant, urgent=request.urgent)
        progress = cast("SamplesDone", record.progress)
        run = state.run(request, progress.samples_total - progress.samples_done, job_id=record.id)
        return _expected(state, wait, run, at_least=record.image is None and _is_open(request))

    def of_new(self, request: CertifyRequest, submission: Submission) -> ExpectedTimes:
        """Returns what a job could expect if it came now.

        Args:
            request: Its request.
            submission: Who sends it.
        """
        state = self._current()
        wait = state.wait_of_new(submission.tenant, urgent=request.urgent)
        return _expected(state, wait, state.run(request, request.samples_max), at_least=_is_open(request))

    def require_within(self, deadline: float, request: CertifyRequest, submission: Submission) -> None:
        """Refuses a deadline that the estimate does not meet; without an estimate it is accepted.

        Args:
            deadline: Seconds from now.
            request: The request of the job.
            submission: Who sends it.

        Raises:
            TryLater: deadline_unattainable.
        """
        expected = self.of_new(request, submission)
        if expected.total is None or expected.total <= deadline:
            return
        raise TryLater(
            "deadline_unattainable",
            f"the estimate is {expected.wait:.1f} s of waiting and {expected.run:.1f} s of work, "
            f"{expected.total:.1f} s together; `deadline` is {deadline:g} s",
            retry_after=min(_MOST_RETRY_SECONDS, max(1, math.ceil(expected.total - deadline))),
        )

    def _current(self) -> QueueState:
        """Returns the state of the queues, which is read at most once a second.

        It is read less often when reading it takes long, so that the readings take a twentieth of the time at most.
        While one thread reads, the others get the former state.
        """
        state = self._state
        if state is None:  # there is nothing to answer with, so that every thread waits for the first reading
            self._reading.acquire()
        elif self._clock() < self._until:
            return state
        else:
            is_the_reader = self._reading.acquire(blocking=False)
            if not is_the_reader:
                return state
        try:
            began = self._clock()
            if self._state is None or began >= self._until:
                self._state = self._reader.read()
                ended = self._clock()
                self._until = ended + max(_PERIOD_SECONDS, (ended - began) / _SHARE_OF_TIME)
            return self._state
        finally:
            self._reading.release()


def _is_open(request: CertifyRequest) -> bool:
    return request.variants is not None and request.variants.is_open


def _expected(state: QueueState, wait: float | None, run: float | None, *, at_least: bool) -> ExpectedTimes:
    if wait is not None and run is not None:
        return ExpectedTimes(wait=wait, run=run, reason=AT_LEAST if at_least else None)
    return ExpectedTimes(wait=wait, run=run, reason=NOT_MEASURED if state.devices else NO_ENGINE)
