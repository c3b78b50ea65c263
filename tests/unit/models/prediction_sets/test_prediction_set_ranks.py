"""Ranks are exact fractions of the decimal numbers, and never interpolate between two counts."""

from fractions import Fraction

import numpy as np
import pytest

from certrad.models.prediction_sets.ranks import clean_level, clean_quantile, images_needed, rank

EXACTLY = {"0.05": Fraction(1, 20), "0.07": Fraction(7, 100), "0.29": Fraction(29, 100)}


@pytest.mark.parametrize(("beta", "level"), [(0.05, "0.045"), (0.1, "0.090454545"), (0.01, "0.008636363")])
def test_clean_level_leaves_a_tenth_for_finite_samples(beta: float, level: str) -> None:
    assert abs(clean_level(beta) - Fraction(level)) < Fraction(1, 10**9)


@pytest.mark.parametrize(("images", "place"), [(600, 30), (38, 1), (19, 1), (18, 0)])
def test_rank_is_a_floor_of_images_and_one(images: int, place: int) -> None:
    assert rank(images, EXACTLY["0.05"]) == place


@pytest.mark.parametrize(("level", "place"), [("0.07", 7), ("0.29", 29)])
def test_rank_does_not_lose_a_whole_number_to_floats(level: str, place: int) -> None:
    assert rank(99, EXACTLY[level]) == place


@pytest.mark.parametrize("images", [18, 19, 38, 99, 600])
def test_rank_misses_at_most_the_level(images: int) -> None:
    place = rank(images, EXACTLY["0.05"])
    assert Fraction(place, images + 1) <= EXACTLY["0.05"] < Fraction(place + 1, images + 1)


def test_quantile_is_a_count_where_numpy_interpolates() -> None:
    counts = list(range(10, 48))
    assert clean_quantile(counts, EXACTLY["0.05"]) == counts[0]
    assert float(np.quantile(counts, 0.05)) not in counts


def test_too_few_images_put_the_class_into_every_set() -> None:
    assert clean_quantile([50] * 18, EXACTLY["0.05"]) == 0


@pytest.mark.parametrize("poisoned", [0, 1, 3])
def test_images_needed_are_the_fewest_with_a_rank(poisoned: int) -> None:
    level = clean_level(0.05)
    needed = images_needed(level, poisoned)
    assert (rank(needed - 1, level, poisoned), rank(needed, level, poisoned)) == (0, 1)
    if not poisoned:
        assert needed == 22


def test_poisoned_images_cannot_raise_the_quantile_of_the_clean_set() -> None:
    generator = np.random.default_rng(0)
    for poisoned in (1, 3, 7):
        counts = generator.binomial(100, 0.9, 200).tolist()
        worst = [*sorted(counts)[poisoned:], *[100] * poisoned]
        assert clean_quantile(worst, EXACTLY["0.05"], poisoned) <= clean_quantile(counts, EXACTLY["0.05"])


def test_more_poisoned_images_than_the_rank_leave_no_threshold() -> None:
    assert clean_quantile([50] * 99, EXACTLY["0.07"], poisoned=7) == 0


@pytest.mark.parametrize(("images", "poisoned"), [(-1, 0), (1, -1)])
def test_negative_numbers_are_refused(images: int, poisoned: int) -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        rank(images, EXACTLY["0.05"], poisoned)
