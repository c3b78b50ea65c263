"""Membership of a prediction set, and the radius up to which it holds one class."""

from itertools import pairwise

import numpy as np
import pytest

from certrad.models.prediction_sets.sets import SetRule, prediction_set

RULE = SetRule(quantiles=(44, 40, 46, 44, 38, 44), n=50, sigma=0.5)


def test_set_holds_the_classes_that_reach_their_thresholds() -> None:
    assert prediction_set([30, 20, 0], [30, 21, 0]) == (0, 2)


def test_image_without_any_valid_sample_has_an_empty_set() -> None:
    thresholds = RULE.thresholds(50, 0.25)
    assert min(thresholds) > 0
    assert prediction_set([0] * 6, thresholds) == ()


def test_empty_set_is_not_filled_with_the_most_frequent_class() -> None:
    thresholds = RULE.thresholds(50, 0.25)
    assert prediction_set([thresholds[0] - 1, 10, 0, 0, 0, 0], thresholds) == ()


def test_class_without_enough_calibration_images_is_in_every_set() -> None:
    rule = SetRule(quantiles=(44, 0), n=50, sigma=0.5)
    assert prediction_set([50, 0], rule.thresholds(50, 0.25)) == (0, 1)


def test_sets_grow_with_the_radius() -> None:
    counts = np.random.default_rng(0).multinomial(50, [0.5, 0.3, 0.1, 0.05, 0.05, 0], 5).tolist()
    for each in counts:
        sets = [set(prediction_set(each, RULE.thresholds(50, radius))) for radius in (0, 0.25, 1)]
        assert all(smaller <= larger for smaller, larger in pairwise(sets))


@pytest.mark.parametrize("counts", [[3, 46, 1], [0, 50, 0], [20, 25, 5], [12, 20, 18]])
@pytest.mark.parametrize("n_test", [50, 100])
def test_single_up_to_is_the_last_radius_with_one_class(counts: list[int], n_test: int) -> None:
    rule = SetRule(quantiles=(44, 40, 44), n=50, sigma=0.05)
    counts = [count * n_test // 50 for count in counts]
    sizes = [len(prediction_set(counts, rule.thresholds(n_test, step / 100))) for step in range(21)]
    expected = max((step / 100 for step, size in enumerate(sizes) if size == 1), default=None)
    assert rule.single_up_to(counts, n_test) == expected


def test_single_up_to_is_none_where_two_classes_are_always_in() -> None:
    assert SetRule(quantiles=(0, 0), n=50, sigma=0.5).single_up_to([50, 0], 50) is None


def test_single_up_to_is_none_where_no_class_ever_comes_in_alone() -> None:
    assert SetRule(quantiles=(50, 50), n=50, sigma=0.02).single_up_to([1, 1], 50) is None
