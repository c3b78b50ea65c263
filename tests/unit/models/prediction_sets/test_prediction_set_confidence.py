"""How many misses of new images speak against the promise of one calibration set."""

import pytest
from scipy import integrate, stats

from certrad.models.prediction_sets.confidence import many_misses
from certrad.models.prediction_sets.ranks import clean_level, rank


@pytest.mark.parametrize(("images", "missed"), [(20, 1), (200, 12), (200, 30), (1000, 80)])
def test_probability_is_that_of_a_binomial_whose_share_is_drawn_with_the_calibration(images: int, missed: int) -> None:
    place = rank(100, clean_level(0.05))
    law = stats.beta(place, 101 - place)
    exact, _ = integrate.quad(
        lambda share: law.pdf(share) * stats.binom.sf(missed - 1, images, min(1.0, 1.1 * share + 0.0005)), 0, 1
    )
    assert exact - 1e-9 <= many_misses(images, missed, 100, place) <= exact + 1e-4


def test_so_many_misses_that_beta_itself_makes_unlikely_are_common_with_honest_calibrations() -> None:
    """The share of misses differs between calibration sets: a test against beta alone calls many of them broken."""
    missed = int(stats.binom.isf(0.01, 1000, 0.05)) + 1
    assert stats.binom.sf(missed - 1, 1000, 0.05) < 0.01
    assert many_misses(1000, missed, 100, rank(100, clean_level(0.05))) > 0.1


def test_far_too_many_misses_speak_against_the_promise() -> None:
    assert many_misses(1000, 200, 100, rank(100, clean_level(0.05))) < 0.001


def test_class_without_a_threshold_is_never_missed() -> None:
    assert (many_misses(20, 0, 18, 0), many_misses(20, 1, 18, 0)) == (1, 0)


@pytest.mark.parametrize("numbers", [(5, 6, 100, 4), (5, -1, 100, 4), (5, 1, 3, 4)])
def test_impossible_numbers_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        many_misses(*numbers)
