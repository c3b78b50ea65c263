"""What can be said about the one calibration set that was drawn (docs/mathematics.md, 11.5)."""

from typing import Final

import numpy as np
from scipy import special, stats

from certrad.models.prediction_sets.ranks import CONSTANT, SLOPE

_SLICES: Final = 10_000


def most_misses(images: int, place: int, delta: float) -> float:
    """Returns an upper bound of the share of misses with this calibration set: false with probability at most delta.

    It is a BetaInv(1 - delta; l, m + 1 - l) + c, for calibration images that are drawn independently of each other.

    Args:
        images: The number m of calibration images.
        place: The rank l of the count that the threshold is made of; 0 where the class is in every set.
        delta: Probability that the calibration set is a worse one, in (0, 1).

    Raises:
        ValueError: A number is out of range.
    """
    if not (0 <= place <= images and 0 < delta < 1):
        raise ValueError(f"0 <= place <= images and 0 < delta < 1 must hold, got {place!r}, {images!r} and {delta!r}")
    if not place:
        return 0.0
    quantile = float(special.betainccinv(place, images + 1 - place, delta))
    return min(1.0, float(SLOPE) * quantile + float(CONSTANT))


def many_misses(images: int, missed: int, calibrated: int, place: int) -> float:
    """Returns how likely at least so many misses are, on new images, if the promise of a calibration set holds.

    The share of misses with one calibration set is at most a B + c, with B of Beta(l, m + 1 - l); given it, the misses
    are binomial. The mean over B is a sum over 10,000 equally likely slices, each with its largest B: the result is
    never too small, and too large by at most 0.0001.

    Args:
        images: The number of new images.
        missed: Those whose set lacks their class.
        calibrated: The number m of calibration images.
        place: The rank l before any replacement of images; 0 where the class is in every set.

    Raises:
        ValueError: A number is out of range.
    """
    if not (0 <= missed <= images and 0 <= place <= calibrated):
        raise ValueError(f"0 <= missed <= images and 0 <= place <= m must hold, got {missed}, {images} and {place}")
    if not place:
        return float(not missed)
    quantiles = special.betaincinv(place, calibrated + 1 - place, np.arange(1, _SLICES + 1) / _SLICES)
    shares = np.minimum(1.0, float(SLOPE) * quantiles + float(CONSTANT))
    return float(np.mean(stats.binom.sf(missed - 1, images, shares)))
