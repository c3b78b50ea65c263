"""When the jobs of this installation will be done, as far as anybody can tell; worked out once a second at most."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, cast

from redis import Redis

from certrad.app.api.problems import TryLater
from certrad.models.types import CertifyRequest
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import ACTIVE, ENGINE_QUEUE, INTAKE_QUEUE, Phase, record_key, turns_key
from certrad.workers.contract.progress import SamplesDone
from certrad.workers.contract.queues import alive_engines, alive_workers
from certrad.workers.contract.request import Request, read_request
from certrad.workers.contract.schedule import Queues, Work, remaining, waits
from certrad.workers.contract.speeds import Speeds
from certrad.workers.contract.submission import Submission
from certrad.workers.contract.turns import Turn, precedence_of, read_last_turns, read_turns

_PERIOD_SECONDS: Final = 1.0
_SHARE_OF_TIME: Final = 0.05  # that working out a long queue may take of this process
_MOST_RETRY_SECONDS: Final = 3_600
_IN_ENGINE: Final[frozenset[Phase]] = frozenset(
    {"loading", "adapting", "selecting", "estimating", "attacking", "tuning", "evaluating"}
)
_BEFORE_ENGINE: Final[frozenset[Phase]] = frozenset({"queued", "decoding", "waiting"})
_FIELDS: Final = ("phase", "request", "samples_done", "tenant")

NO_ENGINE: Final = "no engine is running"
NOT_MEASURED: Final = "no engine has measured yet how long this job, or one before it, takes"
TUNING: Final = "nobody knows how long a tuning takes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a job can expect.

    Attributes:
        wait: Seconds until an engine has it; None if unknown.
        run: Seconds of work that are left then; None if unknown.
        reason: Why one of them is unknown.
    """

    wait: float | None
    run: float | None
    reason: str | None = None

    @property
    def total(self) -> float | None:
        """Returns the seconds until the end; None if unknown."""
        return None if self.wait is None or self.run is None else self.wait + self.run


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The queues as they were read, and the waits that follow."""

    queues: Queues
    speeds: Speeds
    devices: frozenset[str]
    waits: dict[str, float]
    handed_back: frozenset[str]
    waits_of_new: dict[tuple[str, bool], float | None] = field(default_factory=dict)

    def wait_of(self, record: JobRecord) -> float | None:
        """Returns the seconds until an engine has a job; None if unknown."""
        if record.phase in _IN_ENGINE and record.id not in self.handed_back:
            return 0.0
        return self.waits.get(record.id)

    def run(self, request: CertifyRequest, samples: int) -> float | None:
        """Returns the seconds that are left to a certification, from the engine to its end."""
        seconds = self.speeds.certification(request, samples, self.devices)
        return None if seconds is None else seconds + self.speeds.stage("finish")

    def wait_of_new(self, tenant: str, *, urgent: bool) -> float | None:
        """Returns the seconds until an engine would have a job that came now; None if unknown."""
        key = (tenant, urgent)
        if key not in self.waits_of_new:
            first = Turn(precedence=precedence_of("decode", urgent=urgent), round=0, tenant=tenant)
            new = Work(job_id="", turn=first, seconds=0.0)
            self.waits_of_new[key] = waits(self.queues.with_new(new)).get("")
        return self.waits_of_new[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the schedule needs to know of an active job."""

    phase: Phase
    request: Request
    samples_done: int
    tenant: str


class Outlook:
    """Estimates waits and runs of this installation's jobs."""

    def __init__(
        self, redis: Redis, *, tuning_slice_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Reads nothing before the first question.

        Args:
            redis: The job store.
            tuning_slice_seconds: Seconds that a tuning has while certificates wait.
            clock: Seconds.
        """
        self._redis = redis
        self._catalogue = Catalogue(redis)
        self._slice = tuning_slice_seconds
        self._clock = clock
        self._reading = Lock()
        self._view: _View | None = None
        self._until = -math.inf
        self._requests: dict[str, Request] = {}

    def of(self, record: JobRecord) -> Expected | None:
        """Returns what a job can expect; None once it has ended.

        Args:
            record: The record of the job.
        """
        if record.ended:
            return None
        view, request = self._current(), record.request
        wait = view.wait_of(record)
        if not isinstance(request, CertifyRequest):
            return Expected(wait=wait, run=None, reason=TUNING)
        if record.phase == "finishing":
            return Expected(wait=0.0, run=view.speeds.stage("finish"))
        if wait is None:  # it came after the queues were read
            wait = view.wait_of_new(record.submission.tenant, urgent=request.urgent)
        left = request.samples_max - cast("SamplesDone", record.progress).samples_done
        return _expected(view, wait, view.run(request, left))

    def of_new(self, request: CertifyRequest, submission: Submission) -> Expected:
        """Returns what a job could expect if it came now.

        Args:
            request: Its request.
            submission: Who sends it.
        """
        view = self._current()
        wait = view.wait_of_new(submission.tenant, urgent=request.urgent)
        return _expected(view, wait, view.run(request, request.samples_max))

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

    def _current(self) -> _View:
        """Returns the queues of about a second ago; while one thread reads them, the others use the former ones."""
        view = self._view
        if view is not None and (self._clock() < self._until or not self._reading.acquire(blocking=False)):
            return view
        if view is None:
            self._reading.acquire()
        try:
            began = self._clock()
            if self._view is None or began >= self._until:
                self._view = self._read()
                ended = self._clock()
                self._until = ended + max(_PERIOD_SECONDS, (ended - began) / _SHARE_OF_TIME)
            return self._view
        finally:
            self._reading.release()

    def _read(self) -> _View:
        speeds = Speeds.read(self._redis)
        cards = alive_engines(self._redis, self._catalogue)
        devices = frozenset(card.device.partition(":")[0] for card in cards)
        with self._redis.pipeline(transaction=True) as snapshot:
            for name in (INTAKE_QUEUE, ENGINE_QUEUE):
                snapshot.lrange(f"rq:queue:{name}", 0, -1)
                snapshot.hgetall(turns_key(name))
            snapshot.zrange(ACTIVE, 0, -1)
            decoding, of_decoding, waiting, of_waiting, active = snapshot.execute()
        facts = self._facts([member.decode() for member in active])

        def work(entries: list[bytes], turns: dict[bytes, bytes]) -> list[Work]:
            ids = [entry.decode() for entry in entries]
            return [
                Work(job_id=job_id, turn=turn, seconds=seconds, is_tuning=stage == "tune")
                for (job_id, _, stage), turn in zip(
                    (i.rpartition("-") for i in ids), read_turns(ids, turns), strict=True
                )
                if job_id in facts and stage in ("decode", "certify", "tune")
                for seconds in (self._seconds(facts[job_id], speeds, devices),)
            ]

        to_engine, to_intake = work(waiting, of_waiting), work(decoding, of_decoding)
        taken = {job.job_id for job in to_engine}
        listed = taken.union(job.job_id for job in to_intake)
        in_intake = [  # between the two queues
            Work(
                job_id=job_id,
                turn=Turn(
                    precedence=precedence_of("decode", urgent=known.request.urgent), round=0, tenant=known.tenant
                ),
                seconds=self._seconds(known, speeds, devices),
            )
            for job_id, known in facts.items()
            if known.phase in _BEFORE_ENGINE and job_id not in listed and known.request.kind == "certify"
        ]
        busy = {
            job_id: self._seconds(known, speeds, devices)
            for job_id, known in facts.items()
            if known.phase in _IN_ENGINE and job_id not in taken
        }
        queues = Queues(
            engines=remaining(busy, len(cards)),
            intakes=len(alive_workers(self._redis, INTAKE_QUEUE)),
            intake_seconds=speeds.stage("decode"),
            decoding=[*in_intake, *to_intake],
            waiting=to_engine,
            last_decoded=read_last_turns(of_decoding),
            last_run=read_last_turns(of_waiting),
        )
        handed_back = frozenset(job_id for job_id in taken if facts[job_id].phase in _IN_ENGINE)
        return _View(queues=queues, speeds=speeds, devices=devices, waits=waits(queues), handed_back=handed_back)

    def _facts(self, job_ids: list[str]) -> dict[str, _Facts]:
        """Returns the facts of every readable active job."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(record_key(job_id), *_FIELDS)
            stored = cast("list[list[bytes | None]]", pipe.execute())
        facts: dict[str, _Facts] = {}
        for job_id, (phase, request, samples_done, tenant) in zip(job_ids, stored, strict=True):
            if phase is None or request is None:
                continue
            try:
                known = self._requests.get(job_id) or read_request(request)
            except ValueError:  # another version wrote it
                continue
            facts[job_id] = _Facts(
                phase=cast("Phase", phase.decode()),
                request=known,
                samples_done=int(samples_done or 0),
                tenant=LOCAL_TENANT if tenant is None else tenant.decode(),
            )
        self._requests = {job_id: known.request for job_id, known in facts.items()}
        return facts

    def _seconds(self, known: _Facts, speeds: Speeds, devices: frozenset[str]) -> float | None:
        if not isinstance(known.request, CertifyRequest):
            return self._slice
        return speeds.certification(known.request, known.request.samples_max - known.samples_done, devices)


def _expected(view: _View, wait: float | None, run: float | None) -> Expected:
    if wait is not None and run is not None:
        return Expected(wait=wait, run=run)
    return Expected(wait=wait, run=run, reason=NOT_MEASURED if view.devices else NO_ENGINE)
