"""The queues of this installation at one moment, and the waits that follow from them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from redis import Redis

from certrad.models.types import CertifyRequest
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import (
    ACTIVE,
    ENGINE_QUEUE,
    INTAKE_QUEUE,
    Phase,
    queue_key,
    record_key,
    split_entry,
    turns_key,
)
from certrad.workers.contract.queues import alive_engines, alive_workers
from certrad.workers.contract.request import Request, read_request
from certrad.workers.contract.schedule import Queues, Work, remaining, waits
from certrad.workers.contract.sharing import shared_seconds
from certrad.workers.contract.speeds import Speeds
from certrad.workers.contract.turns import Turn, precedence_of, read_last_turns, read_turns

_IN_ENGINE: Final[frozenset[Phase]] = frozenset(
    {"loading", "adapting", "selecting", "estimating", "attacking", "tuning", "evaluating"}
)
_BEFORE_ENGINE: Final[frozenset[Phase]] = frozenset({"queued", "decoding", "waiting"})
_FIELDS: Final = ("phase", "request", "samples_done", "samples_total", "tenant")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queues as they were read, and the waits that follow.

    Attributes:
        queues: The queues.
        speeds: How long work takes.
        cards: The cards of living engines.
        active: Job -> seconds that one engine still needs for it, of the jobs that need an engine; None if unknown.
        share_seconds: Seconds that a certificate must still take for its engine to ask idle engines to help.
        waits: Job -> seconds until an engine has it.
        handed_back: Jobs that an engine began and that wait again.
        waits_of_new: The waits of new jobs that were worked out so far, by tenant and urgency.
    """

    queues: Queues
    speeds: Speeds
    cards: tuple[WorkerCard, ...]
    active: Mapping[str, float | None]
    share_seconds: float
    waits: dict[str, float]
    handed_back: frozenset[str]
    waits_of_new: dict[tuple[str, bool], float | None] = field(default_factory=dict)

    def wait_of(self, record: JobRecord) -> float | None:
        """Returns the seconds until an engine has a job; None if unknown."""
        if record.phase in _IN_ENGINE and record.id not in self.handed_back:
            return 0.0
        return self.waits.get(record.id)

    @property
    def devices(self) -> frozenset[str]:
        """Returns the kinds of the devices of living engines."""
        return _devices(self.cards)

    def run(self, request: CertifyRequest, samples: int, job_id: str = "") -> float | None:
        """Returns the seconds that are left to a certification, from the engine to its end.

        On several kinds of device they are those of the slowest that has been measured.

        Args:
            request: The request.
            samples: Samples that are still to be drawn.
            job_id: The job's id; "" for a job that is not there yet.
        """
        found = [self._run_on(device, request, samples, job_id) for device in self.devices]
        known = [seconds for seconds in found if seconds is not None]
        return max(known) + self.speeds.stage("finish") if known else None

    def _run_on(self, device: str, request: CertifyRequest, samples: int, job_id: str) -> float | None:
        """Returns the seconds on one kind of device, with the engines that would help; None if it was not measured."""
        alone = self.speeds.certification(request, samples, [device])
        estimation = self.speeds.estimation(request, samples, device)
        if alone is None or estimation is None or request.params.target_radius is not None:
            return alone  # with a target radius nobody knows how long there is something to share
        runs = request.sigma.estimation_runs
        sizes = self._batch_sizes_of_kinds(device, request.classifier.backbone)
        left = min(samples, request.estimation_samples)
        shared = [
            shared_seconds(
                estimation,
                runs=runs,
                batches=max(1.0, left / runs / max(batch_sizes)),
                engines=len(batch_sizes),
                others=[seconds for active, seconds in self.active.items() if active != job_id],
                share_seconds=self.share_seconds,
            )
            for batch_sizes in sizes
        ]
        return alone - estimation + max(shared, default=estimation)

    def _batch_sizes_of_kinds(self, device: str, backbone: str) -> list[list[int]]:
        """Returns the batch sizes of the engines that could have a certificate, by what can help each other with it.

        An engine of an earlier release does not say what it can help, and stands alone.
        """
        found: dict[str, list[int]] = {}
        for card in self.cards:
            if _device(card) == device and backbone in card.backbones:
                found.setdefault(card.kind or card.name, []).append(card.batch_size or 1)
        return [*found.values()]

    def wait_of_new(self, tenant: str, *, urgent: bool) -> float | None:
        """Returns the seconds until an engine would have a job that came now; None if unknown."""
        key = (tenant, urgent)
        if key not in self.waits_of_new:
            new = Work(job_id="", turn=_first_turn(tenant, urgent=urgent), seconds=0.0)
            self.waits_of_new[key] = waits(self.queues.with_new(new)).get("")
        return self.waits_of_new[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """The facts of an active job that the schedule needs; `seconds` are those that an engine still needs for it."""

    phase: Phase
    request: Request
    tenant: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of both queues at one moment, with their turns, and the active jobs."""

    decoding: list[bytes]
    turns_of_decoding: dict[bytes, bytes]
    waiting: list[bytes]
    turns_of_waiting: dict[bytes, bytes]
    active: list[bytes]


class QueueReader:
    """Reads the state of the queues."""

    def __init__(self, redis: Redis, *, tuning_slice_seconds: float, share_seconds: float) -> None:
        """Reads nothing yet.

        Args:
            redis: The job store.
            tuning_slice_seconds: Seconds that a tuning has while certificates wait.
            share_seconds: See `QueueState`.
        """
        self._redis = redis
        self._catalogue = Catalogue(redis)
        self._slice = tuning_slice_seconds
        self._share_seconds = share_seconds
        self._requests: dict[str, Request] = {}

    def read(self) -> QueueState:
        """Returns the state of the queues now."""
        speeds = Speeds.read(self._redis)
        cards = tuple(alive_engines(self._redis, self._catalogue))
        entries = self._read_entries()
        facts = self._read_facts([member.decode() for member in entries.active], speeds, _devices(cards))
        waiting = _work(entries.waiting, entries.turns_of_waiting, facts)
        decoding = _work(entries.decoding, entries.turns_of_decoding, facts)
        wait_for_engine = {work.job_id for work in waiting}
        began = {job_id: known.seconds for job_id, known in facts.items() if known.phase in _IN_ENGINE}
        listed = wait_for_engine.union(work.job_id for work in decoding)
        queues = Queues(
            engines=remaining({job: began[job] for job in began if job not in wait_for_engine}, len(cards)),
            intakes=len(alive_workers(self._redis, INTAKE_QUEUE)),
            intake_seconds=speeds.stage("decode"),
            decoding=[*_between_queues(facts, listed), *decoding],
            waiting=waiting,
            last_decoded=read_last_turns(entries.turns_of_decoding),
            last_run=read_last_turns(entries.turns_of_waiting),
        )
        return QueueState(
            queues=queues,
            speeds=speeds,
            cards=cards,
            active={
                job_id: known.seconds if known.request.kind == "certify" else None
                for job_id, known in facts.items()
                if known.phase not in ("finishing", "done")
            },
            share_seconds=self._share_seconds,
            waits=waits(queues),
            handed_back=frozenset(began.keys() & wait_for_engine),
        )

    def _read_entries(self) -> _Entries:
        with self._redis.pipeline(transaction=True) as snapshot:
            for name in (INTAKE_QUEUE, ENGINE_QUEUE):
                snapshot.lrange(queue_key(name), 0, -1)
                snapshot.hgetall(turns_key(name))
            snapshot.zrange(ACTIVE, 0, -1)
            return _Entries(*snapshot.execute())

    def _read_facts(self, job_ids: list[str], speeds: Speeds, devices: frozenset[str]) -> dict[str, _Facts]:
        """Returns the facts of every readable active job."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(record_key(job_id), *_FIELDS)
            stored = cast("list[list[bytes | None]]", pipe.execute())
        facts: dict[str, _Facts] = {}
        for job_id, (phase, written, samples_done, total, tenant) in zip(job_ids, stored, strict=True):
            if phase is None or written is None:
                continue
            try:
                request = self._requests.get(job_id) or read_request(written)
            except ValueError:  # another version wrote it
                continue
            seconds: float | None = self._slice
            if isinstance(request, CertifyRequest):
                left = int(total or request.samples_max) - int(samples_done or 0)
                seconds = speeds.certification(request, left, devices)
            facts[job_id] = _Facts(
                phase=cast("Phase", phase.decode()),
                request=request,
                tenant=LOCAL_TENANT if tenant is None else tenant.decode(),
                seconds=seconds,
            )
        self._requests = {job_id: known.request for job_id, known in facts.items()}
        return facts


def _work(entries: list[bytes], turns: Mapping[bytes, bytes], facts: Mapping[str, _Facts]) -> list[Work]:
    """Returns the work of a queue's entries, without those that are no work of a readable active job."""
    ids = [entry.decode() for entry in entries]
    parts = (split_entry(entry) for entry in ids)
    return [
        Work(job_id=job_id, turn=turn, seconds=facts[job_id].seconds, is_tuning=stage == "tune")
        for (job_id, stage), turn in zip(parts, read_turns(ids, turns), strict=True)
        if job_id in facts and stage in ("decode", "certify", "tune")
    ]


def _between_queues(facts: Mapping[str, _Facts], listed: set[str]) -> list[Work]:
    """Returns the certifications that no queue lists though no engine had them: intake has them now."""
    return [
        Work(job_id=job_id, turn=_first_turn(known.tenant, urgent=known.request.urgent), seconds=known.seconds)
        for job_id, known in facts.items()
        if known.phase in _BEFORE_ENGINE and job_id not in listed and known.request.kind == "certify"
    ]


def _devices(cards: Iterable[WorkerCard]) -> frozenset[str]:
    return frozenset(map(_device, cards))


def _device(card: WorkerCard) -> str:
    return card.device.partition(":")[0]


def _first_turn(tenant: str, *, urgent: bool) -> Turn:
    return Turn(precedence=precedence_of("decode", urgent=urgent), round=0, tenant=tenant)
