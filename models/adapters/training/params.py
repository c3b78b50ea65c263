"""The hyper-parameters of the training of an adapter, and the learning rate of each step."""

import math
from dataclasses import dataclass
from typing import Final

from certrad.models.types.smoothing import check_sigma

STEPS_MAX: Final = 100_000
RANK_MAX: Final = 256
BATCH_MAX: Final = 1_024
_WARM_UP: Final = 0.3
_START_DIVISOR: Final = 25.0
_END_DIVISOR: Final = 1e4
_MOMENTUM: Final = (0.95, 0.85)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterParams:
    """Hyper-parameters of the training of an adapter.

    Attributes:
        steps: AdamW steps, in [1, 100,000].
        rank: Rank of the changes of the matrices, in [1, 256].
        batch_size: Images of one step, in [1, 1,024].
        sigma_low: Least standard deviation of the noise, in pixels of [0, 1].
        sigma_high: Greatest one; each image gets one that is log-uniform between them.
        lr: Greatest learning rate, in (0, 1].
        weight_decay: Weight decay of AdamW, in [0, 1].
        seed: Random seed of the first values, of the choice of images, and of all noise.
    """

    steps: int = 800
    rank: int = 8
    batch_size: int = 64
    sigma_low: float = 0.1
    sigma_high: float = 1.1
    lr: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("steps", STEPS_MAX), ("rank", RANK_MAX), ("batch_size", BATCH_MAX)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in 1..{most}, got {getattr(self, name)!r}")
        check_sigma(self.sigma_low)
        check_sigma(self.sigma_high)
        if self.sigma_low > self.sigma_high:
            raise ValueError(f"sigma_low must be <= sigma_high, got {self.sigma_low!r} and {self.sigma_high!r}")
        if not 0 < self.lr <= 1:  # also refuses NaN
            raise ValueError(f"lr must be in (0, 1], got {self.lr!r}")
        if not 0 <= self.weight_decay <= 1:
            raise ValueError(f"weight_decay must be in [0, 1], got {self.weight_decay!r}")

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The least and the greatest standard deviation."""
        return self.sigma_low, self.sigma_high

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step: up and down once (Smith and Topin, 2017), as OneCycleLR of torch.

        Args:
            step: The step, from 0.
        """
        start = self.lr / _START_DIVISOR
        return self._cycle(step, start, self.lr, start / _END_DIVISOR)

    def momentum(self, step: int) -> float:
        """Returns AdamW's first beta of a step, which falls while the learning rate rises.

        Args:
            step: The step, from 0.
        """
        high, low = _MOMENTUM
        return self._cycle(step, high, low, high)

    def _cycle(self, step: int, start: float, middle: float, end: float) -> float:
        """Returns the value on half a cosine from `start` to `middle`, and on another one to `end`."""
        peak, last = max(_WARM_UP * self.steps - 1, 0.0), self.steps - 1
        if step < peak:
            first, then, part = start, middle, step / peak
        else:
            first, then, part = middle, end, (step - peak) / max(last - peak, 1.0)
        return then + (first - then) / 2 * (1 + math.cos(math.pi * part))
