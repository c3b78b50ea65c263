"""The band that the label counts of a working device leave with a known, tiny probability (docs/adr/0028)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper

FALSE_ALARM: Final = 1e-6
"""Probability, at most, that one run refuses a device whose class probabilities are within SHIFT of the reference's."""

SHIFT: Final = 0.01
"""Most that other arithmetic, as that of bfloat16, may move the probability of a class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The counts of one class that are accepted, both ends included."""

    lowest: int
    highest: int

    def __contains__(self, count: int) -> bool:
        return self.lowest <= count <= self.highest


def bands(reference: Sequence[int], samples: int) -> list[Band]:
    """Returns the band of every class.

    FALSE_ALARM is shared out equally over the classes, and each share four ways: the confidence bounds of the class's
    probability (Clopper & Pearson, below and above) from the reference counts, and the two tails of the new count at
    these bounds, moved outwards by SHIFT. The union bound needs no independence.

    Args:
        reference: How often each class occurred under the reference's noise.
        samples: Samples of the new run, at least 1.

    Raises:
        ValueError: There are no reference counts, or no samples.
    """
    total = sum(reference)
    if not total or samples < 1:
        raise ValueError(f"a band needs reference counts and samples, got {total} and {samples}")
    share = FALSE_ALARM / len(reference) / 4
    return [_band(successes, total, samples, share) for successes in reference]


def _band(successes: int, total: int, samples: int, share: float) -> Band:
    lower = max(0.0, clopper_pearson_lower(successes, total, share) - SHIFT)
    upper = min(1.0, clopper_pearson_upper(successes, total, share) + SHIFT)
    counts = np.arange(samples + 1)
    # P(X <= k) at the lower bound, and P(X >= k) at the upper one: each is monotone in k.
    below = special.bdtr(counts, samples, lower)
    above = np.concatenate(([1.0], special.bdtrc(counts[:-1], samples, upper)))
    return Band(
        lowest=int(np.count_nonzero(below <= share)),
        highest=samples - int(np.count_nonzero(above <= share)),
    )
