"""Coverage of prediction sets under the worst change of every share: the bound holds, and two wrong rules miss.

Coverage is exact given the calibration draw, so that only that draw is random. Both laws have a standard deviation of
the coverage between calibration sets below 0.016, or 0.0008 for the mean of 400: the margins asserted here, 0.005 and
more, are over 6 standard errors away from the means (0.939, 0.963; vanilla 0.80), a false-alarm rate below 1e-8.
"""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from certrad.models.prediction_sets.ranks import clean_level, clean_quantile
from certrad.models.prediction_sets.thresholds import attacked_shares, probability_below, robust_threshold

SETS = 400
ATOMS = np.array([0.62, 0.97]), np.array([0.2, 0.8])


@pytest.mark.parametrize(
    ("images", "n", "ratio", "beta"),
    [(200, 50, 1.0, 0.10), (600, 200, 0.5, 0.05)],
)
def test_coverage_holds_under_the_worst_change_where_wrong_rules_miss(
    images: int, n: int, ratio: float, beta: float
) -> None:
    generator = np.random.default_rng(0)
    ours, vanilla, wrong_sign = [], [], []
    for _ in range(SETS):
        counts = generator.binomial(n, generator.choice(ATOMS[0], images, p=ATOMS[1])).tolist()
        quantile = clean_quantile(counts, clean_level(beta))
        ours.append(_coverage(n, _threshold(quantile, n, ratio), ratio))
        vanilla.append(_coverage(n, clean_quantile(counts, Fraction(repr(beta))), ratio))
        wrong_sign.append(_coverage(n, _raised(quantile, n, ratio), ratio))
    assert np.mean(ours) >= 1 - beta
    assert np.mean(vanilla) < 1 - beta - 0.05
    assert np.mean(wrong_sign) < 1 - beta - 0.05


def test_coverage_of_equal_images_is_about_one_try_and_not_the_worst_of_sixteen() -> None:
    """Where all images are alike, the rank is a matter of the samples alone."""
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(SETS):
        counts = generator.binomial(25, np.full(99, 0.9)).tolist()
        threshold = _threshold(clean_quantile(counts, clean_level(0.1)), 25, 1.0)
        covered.append(float(1 - probability_below(threshold, 25, attacked_shares(0.9, 1.0))))
    assert np.mean(covered) >= 0.9
    assert np.mean(np.power(covered, 16)) < 0.8


@cache
def _threshold(quantile: int, n: int, ratio: float) -> int:
    return robust_threshold(quantile, n, n, ratio)


def _coverage(n: int, threshold: int, ratio: float) -> float:
    shares, weights = ATOMS
    missed: NDArray[np.float64] = probability_below(threshold, n, attacked_shares(shares, ratio))
    return float(weights @ (1 - missed))


def _raised(quantile: int, n: int, ratio: float) -> int:
    """The threshold moved in the wrong direction."""
    share = special.ndtr(special.ndtri(min(max(quantile / n, 1e-9), 1 - 1e-9)) + ratio)
    return int(np.floor(n * share))
