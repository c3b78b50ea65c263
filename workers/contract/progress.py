"""The progress of a job: a certification counts samples, a tuning epochs and images."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from certrad.models.types.tuning import TuningRequest
from certrad.workers.contract.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBound:
    """What a run planned with the samples so far would show: an estimate of the outcome until the run ends.

    It is no certificate: who looks at it after every block sees one that is too large more often than alpha allows.

    Attributes:
        samples: Estimation samples so far.
        p_a_lower_if_ended_now: Lower bound of the class's probability.
        radius_if_ended_now: The radius; None where there would be none.
    """

    samples: int
    p_a_lower_if_ended_now: float
    radius_if_ended_now: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesDone:
    """The progress of a certification.

    Attributes:
        samples_done: Samples of selection, estimation, variants and noise on the window that are done.
        samples_total: Samples that it may take; with windows of a header at least so many until the image is decoded.
        running_radius: With a target radius, the radius that the e-processes have proved so far; None at a fixed n.
        running_bound: At a fixed n and sigma, an estimate of the outcome; None before the first estimation samples.
    """

    samples_done: int
    samples_total: int
    running_radius: float | None = None
    running_bound: RunningBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochsDone:
    """The progress of a tuning.

    Attributes:
        epochs_done: Epochs that are done.
        epochs_total: Epochs that it takes.
        loss: Mean loss of the last finished epoch.
        images_done: Images decoded or attacked in this phase; None if it does not count images.
        images_total: Images of this phase.
    """

    epochs_done: int
    epochs_total: int
    loss: float | None = None
    images_done: int | None = None
    images_total: int | None = None


Progress = SamplesDone | EpochsDone

_BOUND: Final = TypeAdapter(RunningBound)


def at_start(request: Request) -> Progress:
    """Returns the progress of a new job.

    Args:
        request: The request of the job.
    """
    if isinstance(request, TuningRequest):
        return EpochsDone(epochs_done=0, epochs_total=request.params.epochs)
    return SamplesDone(samples_done=0, samples_total=request.samples_max)


def to_fields(progress: Progress) -> dict[str, str]:
    """Returns the progress as fields of the record's hash.

    Args:
        progress: The progress.
    """
    return {name: json.dumps(value) for name, value in asdict(progress).items() if value is not None}


def running_numbers(radius: float | None, bound: RunningBound | None) -> dict[str, Any]:
    """Returns what an event of a certification says of its radius so far.

    Args:
        radius: With a target radius, the radius that is proved so far.
        bound: At a fixed n and sigma, an estimate of the outcome.
    """
    numbers: dict[str, Any] = {} if radius is None else {"running_radius": radius}
    return numbers if bound is None else {**numbers, "running_bound": asdict(bound)}


def from_fields(request: Request, stored: Mapping[bytes, bytes]) -> Progress:
    """Returns the progress in a record's hash.

    Args:
        request: The request of the job.
        stored: The fields of the hash.

    Raises:
        KeyError: A field is missing.
        ValueError: A field is not a number.
    """

    def number(name: bytes) -> float | None:
        return float(stored[name]) if name in stored else None

    def count(name: bytes) -> int | None:
        return int(stored[name]) if name in stored else None

    if isinstance(request, TuningRequest):
        return EpochsDone(
            epochs_done=int(stored[b"epochs_done"]),
            epochs_total=int(stored[b"epochs_total"]),
            loss=number(b"loss"),
            images_done=count(b"images_done"),
            images_total=count(b"images_total"),
        )
    return SamplesDone(
        samples_done=int(stored[b"samples_done"]),
        samples_total=int(stored[b"samples_total"]),
        running_radius=number(b"running_radius"),
        running_bound=_BOUND.validate_json(stored[b"running_bound"]) if b"running_bound" in stored else None,
    )
