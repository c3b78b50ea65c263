"""The counters of the whole installation: one hash in Redis, which the scripts that end a job change.

So a job is counted once, whatever process ends it, and a counter survives every process. A field is the JSON list of
the counter's name and the values of its labels, or the name alone. Every label has a bounded set of values.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from redis import Redis

from certrad.workers.contract.names import DRIFT_OF_ALL, TOTALS

Labels = tuple[str, ...]

MOST_FIELDS: Final = 4_096
"""Fields of the hash: beyond them a new combination of labels is only counted as dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A counter in the hash.

    Attributes:
        name: Its name in the hash and, after `certrad_`, among the metrics.
        words: What it counts.
        labels: The names of its labels.
        from_zero: Values of the labels whose series begin at 0, so that a growth from nothing to 1 is seen.
    """

    name: str
    words: str
    labels: Labels = ()
    from_zero: tuple[Labels, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram in the hash.

    Attributes:
        name: See `Counter`.
        words: What is distributed, with its unit.
        bounds: Upper bounds of its buckets, ascending; above the last one there is one more bucket.
        labels: See `Counter`.
    """

    name: str
    words: str
    bounds: tuple[float, ...]
    labels: Labels = ()

    def observed(self, value: float, *labels: str) -> dict[str, str]:
        """Returns field -> increment of one observed value.

        Args:
            value: The value, which is not negative.
            labels: The values of the labels.
        """
        bucket = bisect_left(self.bounds, value)
        return {field(self.name, str(bucket), *labels): "1", field(self.name, "sum", *labels): f"{value:.6f}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """The observed values of a distribution.

    Attributes:
        buckets: Values in each bucket, the unbounded one last.
        total: Their sum.
    """

    buckets: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """Returns the number of values."""
        return sum(self.buckets)

    def quantile(self, share: float, bounds: Sequence[float]) -> float | None:
        """Returns the value below which a share of the values is, from the buckets alone.

        Within a bucket the values count as spread evenly. In the last one only its lower bound is known.

        Args:
            share: Share of the values, from 0 to 1.
            bounds: Upper bounds of the buckets.

        Returns:
            The quantile; None where there is no value.
        """
        wanted, below, lower = share * self.count, 0, 0.0
        for bound, number in zip(bounds, self.buckets, strict=False):
            if number and below + number >= wanted:
                return lower + (bound - lower) * (wanted - below) / number
            below, lower = below + number, bound
        return lower if self.count else None


_WAITS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
_WORK: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_600.0)
_RATES: Final = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0)
RADII: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)

FAULTS: Final = (
    "internal_error",
    "worker_lost",
    "job_timeout",
    "engine_mismatch",
    "invalid_certificate",
    "digest_mismatch",
    "storage_unavailable",
    "other",
)
"""Codes of failures for which no sender is to blame."""

JOBS_ENDED: Final = Counter(
    name="jobs",
    words="Jobs that have ended",
    labels=("kind", "outcome", "code"),
    from_zero=tuple((kind, "failed", code) for kind in ("certify", "tune", "other") for code in FAULTS),
)
CERTIFICATES: Final = Counter(
    name="certificates",
    words="Certificates that were issued, abstentions included; `rejected` counts those of the extra class of a bank",
    labels=("outcome", "scope"),
)
SAMPLES: Final = Counter(
    name="samples",
    words="Noisy samples of certificates that were issued, those of selection and of variants included",
    labels=("backbone",),
)
BLOCKS_COMMITTED: Final = Counter(name="blocks_committed", words="Blocks of estimation samples that were committed")
BLOCKS_REDONE: Final = Counter(
    name="blocks_redone", words="Blocks of estimation samples that were computed after somebody else had committed them"
)
INTAKE_REFUSALS: Final = Counter(
    name="intake_refusals", words="Jobs that failed before an engine could have them", labels=("code",)
)
DROPPED: Final = Counter(
    name="dropped_increments", words="Increments of counters that were dropped because there are too many series"
)
CALLBACKS_DELIVERED: Final = Counter(name="callbacks_delivered", words="Callbacks that their receiver has taken")
CALLBACKS_RETRIED: Final = Counter(name="callbacks_retried", words="Attempts to deliver a callback that failed")
CALLBACKS_DEAD: Final = Counter(name="callbacks_dead", words="Callbacks that were given up")
COUNTERS: Final = (
    CALLBACKS_DELIVERED,
    CALLBACKS_RETRIED,
    CALLBACKS_DEAD,
    JOBS_ENDED,
    CERTIFICATES,
    SAMPLES,
    BLOCKS_COMMITTED,
    BLOCKS_REDONE,
    INTAKE_REFUSALS,
    DROPPED,
)

QUEUE_WAIT: Final = Distribution(
    name="queue_wait_seconds",
    words="Seconds that a job waited for its first worker of a queue, counted when the job has ended",
    bounds=_WAITS,
    labels=("queue",),
)
JOB_TIME: Final = Distribution(
    name="job_seconds",
    words="Seconds from the acceptance of a job to its end",
    bounds=_WAITS,
    labels=("kind", "outcome"),
)
SELECT_TIME: Final = Distribution(
    name="select_seconds",
    words="Seconds from the start of the engine that ended a certificate to its first estimation sample",
    bounds=_WORK,
    labels=("backbone",),
)
ESTIMATE_TIME: Final = Distribution(
    name="estimate_seconds",
    words="Seconds of the estimation samples, of the engine that ended a certificate",
    bounds=_WORK,
    labels=("backbone",),
)
SAMPLE_RATE: Final = Distribution(
    name="samples_per_second",
    words="Samples of a certificate for each second of the engine that ended it",
    bounds=_RATES,
    labels=("backbone",),
)
DISTRIBUTIONS: Final = (QUEUE_WAIT, JOB_TIME, SELECT_TIME, ESTIMATE_TIME, SAMPLE_RATE)


def field(name: str, *labels: str) -> str:
    """Returns the field of the hash for a counter and the values of its labels."""
    return json.dumps([name, *labels], separators=(",", ":"))


class Totals:
    """Reads the counters at one moment."""

    def __init__(self, redis: Redis) -> None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(TOTALS)
            pipe.hgetall(DRIFT_OF_ALL)
            stored, self.drift = cast("list[dict[bytes, bytes]]", pipe.execute())
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        for name, value in stored.items():
            counter, *labels = json.loads(name) if name.startswith(b"[") else [name.decode()]
            self._values[counter][tuple(labels)] = float(value)

    def counter(self, counter: Counter) -> Mapping[Labels, float]:
        """Returns the values of a counter by the values of its labels; one without labels starts at 0."""
        at_zero = counter.from_zero if counter.labels else ((),)
        return {**dict.fromkeys(at_zero, 0.0), **self._values.get(counter.name, {})}

    def distribution(self, distribution: Distribution) -> Mapping[Labels, Observations]:
        """Returns the observations of a distribution by the values of its labels."""
        values = self._values.get(distribution.name, {})
        return {
            labels: Observations(
                buckets=tuple(
                    int(values.get((str(bucket), *labels), 0)) for bucket in range(len(distribution.bounds) + 1)
                ),
                total=values.get(("sum", *labels), 0.0),
            )
            for labels in dict.fromkeys(labels[1:] for labels in values)
        }
