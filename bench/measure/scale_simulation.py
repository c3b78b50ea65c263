"""Simulated engines for `bench scale`: processes whose classifier sleeps for as long as a GPU would compute.

Simulated is the encoder alone. Redis, the scripts that claim and commit, the loops of leader and helpers, the progress
and the decision are those of the service.
"""

import multiprocessing
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, cast

import torch
from redis import Redis
from redis.connection import UnixDomainSocketConnection

from certrad.models.shipped import shipped_tasks
from certrad.models.smoothing import Layout, Stream, estimate
from certrad.models.types import CertifyRequest, ClassifierSpec, LabelCounts, SamplingParams
from certrad.workers.contract.records import Records
from certrad.workers.engine.claims import Claims, current_run
from certrad.workers.engine.helper import label_claimed
from certrad.workers.engine.ledger import RedisLedger
from certrad.workers.engine.progress import SamplingProgress
from certrad.workers.engine.shared_ledger import SharedLedger

_TTL: Final = 3600
_CLASSES: Final = shipped_tasks()["mednist"].class_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """One certificate of simulated engines.

    Attributes:
        engines: Engines that shared it.
        seconds: From the first claim to the decision.
        commands: Requests that all engines sent to Redis.
        redis_seconds: Processor time of Redis.
        engines_seconds: Processor time of all engines together, without what they slept.
        took_part: Engines that committed a block.
    """

    engines: int
    seconds: float
    commands: int
    redis_seconds: float
    engines_seconds: float
    took_part: int


class CountingConnection(UnixDomainSocketConnection):
    """A connection to Redis that counts the requests of its process."""

    sent = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401  # as redis-py has it
        """Sends a request and counts it."""
        CountingConnection.sent += 1
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]  # redis-py has no types


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSampler:
    """A sampler whose inputs are the numbers of the samples."""

    batch_size: int

    def batches(self, _: Stream, starts: Iterable[int]) -> Generator[tuple[int, torch.Tensor], None, None]:
        """Yields (start, numbers of the samples) for every start, in order."""
        return ((start, torch.arange(start, start + self.batch_size)) for start in starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepingClassifier:
    """A classifier that sleeps for the time of a batch, and labels a sample by its number."""

    seconds: float
    input_shape: tuple[int, int, int] = (1, 1, 1)
    n_classes: int = len(_CLASSES)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def logits(self, numbers: torch.Tensor, /) -> torch.Tensor:
        """Returns the logits of numbered samples: one of twenty has another class."""
        time.sleep(self.seconds)
        others = torch.where(numbers * 7919 % 20 == 0, 1 + numbers % (self.n_classes - 1), 0)
        return torch.nn.functional.one_hot(others, self.n_classes).float()


def simulate(socket: Path, *, engines: int, n: int, batch_size: int, seconds: float) -> Simulated:
    """Returns what one certificate takes on so many simulated engines.

    Args:
        socket: The socket of a Redis that does nothing else.
        engines: Engines that share it: one that has the job, and helpers.
        n: Estimation samples.
        batch_size: Samples of one batch.
        seconds: Seconds that an engine takes for a batch.

    Raises:
        RuntimeError: The counts are not those of one engine.
    """
    redis = Redis(unix_socket_path=str(socket))
    request = CertifyRequest(
        classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=_CLASSES, template="{}"),
        params=SamplingParams(n0=100, n=n),
    )
    job_id = f"simulated-{engines}-{time.monotonic_ns()}"
    Records(redis, ttl=_TTL).create(job_id, request, max_active=1000, digest="0" * 64)
    context = multiprocessing.get_context("fork")  # so that a helper costs no import
    pipes, helpers = [], []
    for number in range(engines - 1):
        ours, theirs = context.Pipe()
        helper = context.Process(target=_help, args=(theirs, socket, job_id, number, batch_size, seconds), daemon=True)
        helper.start()
        pipes.append(ours)
        helpers.append(helper)
    for pipe in pipes:
        pipe.recv()  # it is ready
    before, cpu_before, busy = CountingConnection.sent, _cpu(redis), time.process_time()
    began = time.monotonic()
    counts = _lead(socket, job_id, request, batch_size, seconds, pipes)
    took = time.monotonic() - began
    told = [cast("tuple[int, float, int]", pipe.recv()) for pipe in pipes]
    for pipe in pipes:
        pipe.send("over")
    for helper in helpers:
        helper.join()
    redis_seconds = _cpu(redis) - cpu_before
    Records(redis, ttl=_TTL).cancel(job_id)
    if counts.total != n or counts.per_class[0] != n - len(range(0, n, 20)):
        raise RuntimeError(f"the counts of {engines} engines must be those of one, got {counts}")
    return Simulated(
        engines=engines,
        seconds=took,
        commands=CountingConnection.sent - before + sum(sent for sent, _, _ in told),
        redis_seconds=redis_seconds,
        engines_seconds=time.process_time() - busy + sum(seconds for _, seconds, _ in told),
        took_part=1 + sum(batches > 0 for _, _, batches in told),
    )


def _client(socket: Path) -> Redis:
    redis = Redis(unix_socket_path=str(socket))
    redis.connection_pool.connection_class = CountingConnection
    return redis


class Inviting(SharedLedger):
    """The ledger of a leader that calls its helpers once batches can be claimed, where the service sends tickets."""

    helpers: Sequence[Connection] = ()

    def begin(self, layout: Layout, *, may_stop_early: bool) -> None:
        """Lets the helpers claim batches, and tells them so."""
        super().begin(layout, may_stop_early=may_stop_early)
        for helper in self.helpers:
            helper.send("go")


def _lead(
    socket: Path,
    job_id: str,
    request: CertifyRequest,
    batch_size: int,
    seconds: float,
    helpers: Sequence[Connection],
) -> LabelCounts:
    """Returns the counts."""
    redis = _client(socket)
    progress = SamplingProgress(Records(redis, ttl=_TTL), job_id, request)
    ledger = Inviting(redis, job_id, ttl=_TTL, raise_if_stopped=lambda: None, engine="leader")
    ledger.helpers = helpers
    drawn = estimate(
        IndexSampler(batch_size=batch_size),
        SleepingClassifier(seconds=seconds),
        request.params.at(0.25),
        LabelCounts(per_class=(100, *[0] * (len(_CLASSES) - 1))),
        ledger,
        on_progress=lambda counts, radius: progress.estimation(counts.total, counts, radius),
    )
    return drawn.counts


def _help(pipe: Connection, socket: Path, job_id: str, number: int, batch_size: int, seconds: float) -> None:
    CountingConnection.sent = 0
    redis = _client(socket)
    redis.ping()
    SleepingClassifier(seconds=0).logits(torch.arange(batch_size))  # what a process does first takes longer
    pipe.send("ready")
    pipe.recv()  # batches can be claimed
    CountingConnection.sent, busy, batches = 0, time.process_time(), 0

    def count() -> None:
        nonlocal batches
        batches += 1

    run = current_run(redis, job_id)
    if run is not None:
        name, layout = run
        label_claimed(
            IndexSampler(batch_size=batch_size),
            SleepingClassifier(seconds=seconds),
            layout,
            Claims(redis=redis, job_id=job_id, run=name, ttl=_TTL),
            RedisLedger(redis, job_id, ttl=_TTL, raise_if_stopped=lambda: None, part=name, engine=f"helper-{number}"),
            count,
        )
    pipe.send((CountingConnection.sent, time.process_time() - busy, batches))
    pipe.recv()  # the leader has decided: the end of many processes would take its processor


def _cpu(redis: Redis) -> float:
    """Returns the processor seconds of the Redis so far."""
    info = cast("dict[str, float]", redis.info("cpu"))
    return info["used_cpu_user"] + info["used_cpu_sys"]
