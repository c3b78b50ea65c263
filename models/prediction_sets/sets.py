"""Which classes an image's prediction set holds, and up to which change it holds one class only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from certrad.models.prediction_sets.ranks import clean_level, clean_quantile
from certrad.models.prediction_sets.thresholds import may_be_threshold, robust_threshold
from certrad.models.types.calibration import SET_RATIO_MAX, SET_STEPS_PER_UNIT, CalibrationCard


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRule:
    """What all prediction sets of one calibration set and one beta have in common.

    Attributes:
        quantiles: q of each class; the same q for all where the classes were calibrated together.
        n: Samples of a calibration image.
        sigma: Noise standard deviation in pixels of [0, 1].
    """

    quantiles: tuple[int, ...]
    n: int
    sigma: float

    @classmethod
    def of_card(cls, card: CalibrationCard, beta: float) -> Self:
        """Returns the rule of a calibration.

        Args:
            card: The calibration.
            beta: The share of misses that is promised.
        """
        level = clean_level(beta)
        quantiles = tuple(clean_quantile(group, level, card.poisoned_at_most) for group in card.groups)
        return cls(quantiles=quantiles, n=card.n, sigma=card.sigma)

    def thresholds(self, n_test: int, radius: float) -> tuple[int, ...]:
        """Returns t of each class, of an image with n' samples.

        Args:
            n_test: The number n' of samples.
            radius: L2 norm of a change of the model input that the set allows for.
        """
        known: dict[int, int] = {}
        for quantile in self.quantiles:
            if quantile not in known:
                known[quantile] = robust_threshold(quantile, self.n, n_test, radius / self.sigma)
        return tuple(known[quantile] for quantile in self.quantiles)

    def single_up_to(self, counts: Sequence[int], n_test: int) -> float | None:
        """Returns the largest radius of the fixed list at which the set holds one class; None where it never does.

        The sets grow with the radius, so that this number is right whatever was looked at (docs/mathematics.md, 11.6).

        Args:
            counts: The samples of each class.
            n_test: The number n' of samples.
        """
        low, high = 0, int(SET_RATIO_MAX * self.sigma * SET_STEPS_PER_UNIT + 1e-9)
        if self._size(counts, n_test, low) > 1:
            return None
        while low < high:
            middle = (low + high + 1) // 2
            if self._size(counts, n_test, middle) <= 1:
                low = middle
            else:
                high = middle - 1
        return low / SET_STEPS_PER_UNIT if self._size(counts, n_test, low) == 1 else None

    def _size(self, counts: Sequence[int], n_test: int, step: int) -> int:
        """Returns how many classes the set holds at a radius of the list, without computing any threshold."""
        ratio = step / SET_STEPS_PER_UNIT / self.sigma
        return sum(
            # A class is out where one count more than it has may still be the threshold.
            count >= n_test or not may_be_threshold(count + 1, quantile, self.n, n_test, ratio)
            for count, quantile in zip(counts, self.quantiles, strict=True)
        )


def prediction_set(counts: Sequence[int], thresholds: Sequence[int]) -> tuple[int, ...]:
    """Returns the classes whose counts reach their thresholds; none of them is put in where there is none.

    Args:
        counts: The samples of each class.
        thresholds: The threshold of each class.
    """
    pairs = zip(counts, thresholds, strict=True)
    return tuple(index for index, (count, threshold) in enumerate(pairs) if count >= threshold)
