"""How long work takes, as the workers measure it: means in Redis in which the newest measurement counts most."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from redis import Redis
from redis.exceptions import OutOfMemoryError

from certrad.models.types import CertifyRequest, ZeroShotAdaptation
from certrad.workers.contract.names import SPEEDS

_WEIGHT: Final = 0.3  # of the newest measurement

# KEYS hash; ARGV weight, field, seconds, ...
_NOTE: Final = """
for i = 2, #ARGV, 2 do
  local before, now = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or ''), tonumber(ARGV[i + 1])
  local mean = before and before + ARGV[1] * (now - before) or now
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.9f', mean))
end
"""


def note_stage(redis: Redis, stage: str, seconds: float) -> None:
    """Notes how long intake took for one stage of a job.

    Args:
        redis: The job store.
        stage: The stage.
        seconds: The time.
    """
    _note(redis, {f"stage:{stage}": seconds})


def note_certification(
    redis: Redis,
    request: CertifyRequest,
    *,
    device: str,
    seconds: float,
    estimation: float,
    labelling: float,
    samples: int,
) -> None:
    """Notes how long one engine took for its part of a certification; without estimation samples it says nothing.

    Only the samples that this engine labelled count, over the time in which it labelled them: so the mean is the speed
    of one engine, however many engines share certificates.

    What a job takes beside its estimation samples is noted by its adaptation, with the time of its selection samples
    taken off.

    Args:
        redis: The job store.
        request: The request of the job.
        device: Kind of the engine's device.
        seconds: From the beginning of the attempt to the hand-over of its result, with the example.
        estimation: Part of it in which estimation samples were drawn, whichever engine labelled them.
        labelling: Part of that in which this engine did not wait for others.
        samples: Estimation samples that this engine labelled.
    """
    if samples < 1:
        return
    each, at = labelling / samples, f"{request.classifier.backbone}:{device}"
    beside = max(0.0, seconds - estimation - each * request.selection_samples)
    kind, work = _kind_and_work(request)
    _note(redis, {f"sample:{at}": each, f"job:{at}:{kind}": beside / work})


def _note(redis: Redis, seconds: Mapping[str, float]) -> None:
    arguments = [part for field, value in seconds.items() for part in (field, f"{value:.9f}")]
    with suppress(OutOfMemoryError):  # a full Redis takes no figure, and no task fails for it
        redis.register_script(_NOTE)(keys=[SPEEDS], args=[_WEIGHT, *arguments])


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """The means of what has been measured.

    Attributes:
        means: Field of the hash -> seconds.
    """

    means: Mapping[str, float]

    @staticmethod
    def of(stored: Mapping[bytes, bytes]) -> "Speeds":
        """Returns the speeds in the hash of a job store.

        Args:
            stored: The fields of the hash.
        """
        return Speeds(means={field.decode(): float(value) for field, value in stored.items()})

    @staticmethod
    def read(redis: Redis) -> "Speeds":
        """Returns the speeds that a job store has."""
        return Speeds.of(cast("dict[bytes, bytes]", redis.hgetall(SPEEDS)))

    def stage(self, stage: str) -> float:
        """Returns the seconds that intake takes for a stage; 0 before it has been measured."""
        return self.means.get(f"stage:{stage}", 0.0)

    def certification(self, request: CertifyRequest, samples: int, devices: Iterable[str]) -> float | None:
        """Returns the seconds that the slowest of some kinds of device takes; None if none of them has been measured.

        An adaptation that has not been measured counts as taking no time.

        Args:
            request: The request.
            samples: Samples that are still to be drawn; all of them, if nothing has begun.
            devices: Kinds of the engines' devices.
        """
        found = [self._on(device, request, samples) for device in devices]
        known = [seconds for seconds in found if seconds is not None]
        return max(known, default=None)

    def estimation(self, request: CertifyRequest, samples: int, device: str) -> float | None:
        """Returns the seconds of the estimation samples in `certification`; None if the device has not been measured.

        Args:
            request: The request.
            samples: Samples that are still to be drawn; the selection samples are drawn first, and those of variants,
                which one engine draws alone, last.
            device: Kind of the engine's device.
        """
        each = self.means.get(f"sample:{request.classifier.backbone}:{device}")
        if each is None:
            return None
        of_variants = request.samples_max - request.selection_samples - request.estimation_samples
        return each * max(0, min(samples - of_variants, request.estimation_samples))

    def _on(self, device: str, request: CertifyRequest, samples: int) -> float | None:
        at = f"{request.classifier.backbone}:{device}"
        each = self.means.get(f"sample:{at}")
        if each is None:
            return None
        kind, work = _kind_and_work(request)
        beside = work * self.means.get(f"job:{at}:{kind}", 0.0)
        return each * samples + (beside if samples >= request.samples_max else 0.0)


def _kind_and_work(request: CertifyRequest) -> tuple[str, int]:
    """Returns the kind of adaptation, and how much of it there is: the time of `zero_shot` grows with its copies."""
    adaptation = request.classifier.adaptation
    if isinstance(adaptation, ZeroShotAdaptation):
        return "zero_shot", adaptation.steps * adaptation.samples
    return "none" if adaptation is None else "gated", 1
