"""How far a job is: a certification counts samples, a tuning epochs and images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from certrad.models.types import CertifyRequest
from certrad.models.types.tuning import TuningRequest

Request = CertifyRequest | TuningRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Samples of selection and estimation together.

    running_radius: of a job with a target radius, what its e-processes have shown so far; None at a fixed n.
    """

    samples_done: int
    samples_total: int
    running_radius: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Epochs, and images while they are decoded or attacked.

    loss: the mean over the last epoch done.
    images_done, images_total: of the phase; None where it does not go by images.
    """

    epochs_done: int
    epochs_total: int
    loss: float | None = None
    images_done: int | None = None
    images_total: int | None = None


Progress = Sampling | Tuning


def at_start(request: Request) -> Progress:
    """The progress of a job that has just been created."""
    if isinstance(request, TuningRequest):
        return Tuning(epochs_done=0, epochs_total=request.params.epochs)
    return Sampling(samples_done=0, samples_total=request.samples_max)


def to_fields(progress: Progress) -> dict[str, str]:
    """The progress as fields of the record's hash."""
    return {name: repr(value) for name, value in asdict(progress).items() if value is not None}


def from_fields(request: Request, stored: Mapping[bytes, bytes]) -> Progress:
    """The progress in a record's hash; raises KeyError or ValueError."""

    def number(name: bytes) -> float | None:
        return float(stored[name]) if name in stored else None

    def count(name: bytes) -> int | None:
        return int(stored[name]) if name in stored else None

    if isinstance(request, TuningRequest):
        return Tuning(
            epochs_done=int(stored[b"epochs_done"]),
            epochs_total=int(stored[b"epochs_total"]),
            loss=number(b"loss"),
            images_done=count(b"images_done"),
            images_total=count(b"images_total"),
        )
    return Sampling(
        samples_done=int(stored[b"samples_done"]),
        samples_total=int(stored[b"samples_total"]),
        running_radius=number(b"running_radius"),
    )
