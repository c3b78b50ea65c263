"""Thresholds by count transfer: golden values, the inequality on random shares, and the worst law of the share."""

from fractions import Fraction
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.certificates.exact_thresholds import Transfer, may_be_threshold
from certrad.models.certificates.set_checks import grid_loss
from certrad.models.prediction_sets.confidence import most_misses
from certrad.models.prediction_sets.ranks import clean_level, rank
from certrad.models.prediction_sets.thresholds import attacked_shares, probability_below, robust_threshold

Case = tuple[int, int, int, float]

GOLDEN: Final[dict[Case, tuple[int, int]]] = {
    (90, 100, 100, 0): (90, 90),
    (90, 100, 100, 0.5): (78, 76),
    (90, 100, 100, 1): (60, 57),
    (900, 1000, 1000, 0.5): (783, 777),
    (900, 1000, 1000, 1): (610, 601),
    (9000, 10_000, 10_000, 1): (6109, 6078),
    (100, 100, 100, 1): (91, 86),
    (1000, 1000, 1000, 1): (978, 963),
    (5, 100, 100, 1): (0, 0),
    (90, 100, 1000, 1): (550, 486),
    (900, 1000, 100, 1): (53, 55),
}
"""(q, n, n', r / sigma) -> t by the line 1.1 f + 0.0005, and by f + 0.005."""

UNSOUND: Final = dict(zip(GOLDEN, (90, 79, 62, 783, 611, 6109, 95, 990, 1, 611, 62), strict=True))
"""The thresholds of infinitely many samples."""

WORST: Final = (
    (45, 50, 50, 1.0, 0.10, 29, 0.0927, 31, 0.1290, 0.1025, 0.0927),
    (180, 200, 200, 0.5, 0.05, 156, 0.0475, 157, 0.0565, 0.0527, 0.0475),
    (180, 200, 200, 1.0, 0.05, 121, 0.0484, 123, 0.0600, 0.0537, 0.0484),
    (195, 200, 200, 1.0, 0.05, 162, 0.0486, 167, 0.0724, 0.0540, 0.0486),
    (900, 1000, 1000, 1.0, 0.05, 610, 0.0491, 611, 0.0558, 0.0545, 0.0491),
    (45, 50, 500, 1.0, 0.10, 260, 0.0995, 306, 0.1783, 0.1100, 0.1295),
    (450, 500, 50, 1.0, 0.10, 25, 0.0908, 31, 0.2967, 0.1003, 0.2000),
)
"""q, n, n', r / sigma, beta; then t and its largest share of misses, and those of the wrong thresholds."""


@pytest.mark.parametrize("case", GOLDEN)
def test_threshold_has_its_golden_value(case: Case) -> None:
    assert robust_threshold(*case) == GOLDEN[case][0]
    assert robust_threshold(*case, slope=1.0, constant=0.005) == GOLDEN[case][1]


@pytest.mark.parametrize("case", GOLDEN)
def test_threshold_of_infinitely_many_samples_is_another_one(case: Case) -> None:
    quantile, n, n_test, ratio = case
    share = special.ndtr(special.ndtri(min(quantile / n, (quantile - 0.5) / n if quantile == n else 1)) - ratio)
    assert int(np.ceil(n_test * share - 1e-9)) == UNSOUND[case] >= GOLDEN[case][0]


@pytest.mark.parametrize("case", GOLDEN)
def test_no_share_breaks_the_line_and_two_counts_more_would(case: Case) -> None:
    quantile, n, n_test, ratio = case
    threshold = robust_threshold(*case)
    shares = _shares(quantile / n)

    def excess(count: int) -> float:
        left = probability_below(count, n_test, attacked_shares(shares, ratio))
        return float((left - 1.1 * probability_below(quantile, n, shares)).max()) - 0.0005

    assert excess(threshold) <= 1e-12
    assert excess(threshold + 2) > 0


@pytest.mark.parametrize("row", WORST)
def test_worst_law_of_the_share_misses_at_most_beta(row: tuple[float, ...]) -> None:
    quantile, n, n_test = map(int, row[:3])
    ratio, beta, threshold, misses = row[3:7]
    assert robust_threshold(quantile, n, n_test, ratio) == threshold
    worst = _worst_misses(quantile, n, n_test, ratio, int(threshold), float(clean_level(beta)))
    assert worst <= beta
    assert abs(worst - misses) < 1e-4


@pytest.mark.parametrize("row", WORST)
def test_worst_law_breaks_the_threshold_of_infinitely_many_samples(row: tuple[float, ...]) -> None:
    quantile, n, n_test = map(int, row[:3])
    ratio, beta, unsound, misses = row[3], row[4], int(row[7]), row[8]
    worst = _worst_misses(quantile, n, n_test, ratio, unsound, beta)
    assert worst > beta
    assert abs(worst - misses) < 1e-4


@pytest.mark.parametrize("row", WORST)
def test_worst_law_breaks_a_rank_that_spends_all_of_beta(row: tuple[float, ...]) -> None:
    quantile, n, n_test = map(int, row[:3])
    ratio, beta, threshold, misses = row[3], row[4], int(row[5]), row[9]
    worst = _worst_misses(quantile, n, n_test, ratio, threshold, beta)
    assert worst > beta
    assert abs(worst - misses) < 1e-4


@pytest.mark.parametrize("row", [row for row in WORST if row[1] != row[2]])
def test_worst_law_breaks_a_threshold_that_is_scaled_to_other_samples(row: tuple[float, ...]) -> None:
    quantile, n, n_test = map(int, row[:3])
    ratio, beta, misses = row[3], row[4], row[10]
    scaled = round(robust_threshold(quantile, n, n, ratio) * n_test / n)
    worst = _worst_misses(quantile, n, n_test, ratio, scaled, float(clean_level(beta)))
    assert worst > beta
    assert abs(worst - misses) < 1e-4


def test_every_agreeing_image_is_in_where_all_calibration_images_agree() -> None:
    assert robust_threshold(100, 100, 100, 0) == 100


def test_threshold_falls_with_the_radius_and_rises_with_quantile_and_samples() -> None:
    by_radius = [robust_threshold(90, 100, 100, ratio) for ratio in (0, 0.25, 0.5, 1, 2)]
    by_quantile = [robust_threshold(quantile, 100, 100, 0.5) for quantile in (10, 50, 80, 90, 100)]
    by_samples = [robust_threshold(90, 100, n, 0.5) / n for n in (50, 100, 1000)]
    assert by_radius == sorted(by_radius, reverse=True)
    assert by_quantile == sorted(by_quantile)
    assert max(by_samples) - min(by_samples) < 0.05


def test_executed_noise_costs_eta_before_and_after_the_change() -> None:
    assert float(attacked_shares(0.5, 0.0)) == pytest.approx(0.5 - 2e-6, abs=1e-12)
    assert float(attacked_shares(1.0, 1.0)) == pytest.approx(
        special.ndtr(special.ndtri(1 - 1e-6) - 1) - 1e-6, abs=1e-12
    )
    assert float(attacked_shares(1e-6, 0.0)) == 0


def test_no_quantile_means_no_threshold() -> None:
    assert robust_threshold(0, 100, 100, 0.5) == 0


@pytest.mark.parametrize("case", [(-1, 100, 100, 0.5), (101, 100, 100, 0.5), (90, 100, 0, 0.5), (90, 100, 100, -0.5)])
def test_numbers_out_of_range_are_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="must hold"):
        robust_threshold(*case)


@pytest.mark.parametrize(("images", "misses"), [(600, 0.066082), (100, 0.083782)])
def test_confidence_about_one_calibration_set_has_its_golden_value(images: int, misses: float) -> None:
    assert abs(most_misses(images, rank(images, clean_level(0.05)), 0.05) - misses) < 1e-6


def test_confidence_is_that_of_an_order_statistic() -> None:
    place = rank(600, clean_level(0.05))
    expected = 1.1 * stats.beta.ppf(0.95, place, 601 - place) + 0.0005
    assert most_misses(600, place, 0.05) == pytest.approx(expected, abs=1e-12)
    assert most_misses(18, rank(18, Fraction(1, 20)), 0.05) == 0


def _shares(around: float) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    near = special.ndtri(around - 1e-9) + generator.normal(0, 0.3, 1000)
    return np.concatenate([generator.random(1000), special.ndtr(generator.normal(0, 3, 1000)), special.ndtr(near)])


def _worst_misses(quantile: int, n: int, n_test: int, ratio: float, threshold: int, spent: float) -> float:
    """The largest P(attacked count < t) over all laws of the share with P(clean count < q) = spent.

    It is the upper concave envelope of the curve of both probabilities, by duality the smallest over lines above it.
    """
    shares = special.ndtr(np.arange(-9, 9, 1e-3))
    clean = probability_below(quantile, n, shares)
    missed = probability_below(threshold, n_test, attacked_shares(shares, ratio))
    slopes = np.concatenate([[0, 1], np.geomspace(0.2, 50, 160), np.linspace(0.9, 1.3, 81)])
    return min([1.0, *(float((missed - slope * clean).max()) + float(slope) * spent for slope in slopes)])


@pytest.mark.parametrize(("n", "share", "ratio"), [(1_000, 0.9, "1.3"), (10_000, 0.6, "1.3"), (100_000, 1.0, "4")])
def test_grid_loses_no_more_counts_than_verifiers_allow_for(n: int, share: float, ratio: str) -> None:
    """A verifier that allowed for fewer would refuse genuine documents with many samples."""
    quantile = round(share * n)
    threshold = robust_threshold(quantile, n, n, float(ratio))
    transfer = Transfer(quantile=quantile, n=n, n_test=n, ratio=Fraction(ratio))
    assert may_be_threshold(threshold, transfer)
    assert not may_be_threshold(threshold + 1 + grid_loss(n), transfer)
