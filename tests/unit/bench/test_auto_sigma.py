"""The bench of automatic sigma fits a selector, and compares it with the best sigma of each image."""

import numpy as np
import pytest

from certrad.bench.demo.tune_sigma_selector import estimated_margin, ridge
from certrad.bench.measure.auto_sigma import summarise
from certrad.models.types import LabelCounts


def test_a_weak_ridge_ranks_the_routes_as_the_radii_do() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((200, 4))
    y = x @ rng.normal(size=(4, 3)) + [0.1, 0.2, 0.3]
    weights, biases = ridge(x, y, 1e-9)
    assert ((x @ weights + biases).argmax(axis=1) == y.argmax(axis=1)).all()


def test_a_strong_ridge_always_takes_the_route_of_the_largest_mean_radius() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((200, 4)), rng.random((200, 3)) + np.array([0.0, 0.3, 0.0])
    weights, biases = ridge(x, y, 1e9)
    assert set((x @ weights + biases).argmax(axis=1)) == {1}


def test_an_estimated_radius_grows_with_the_count_and_is_never_negative() -> None:
    margins = [estimated_margin(LabelCounts(per_class=(k, 64 - k)), 0) for k in range(65)]
    assert margins[:33] == [0.0] * 33
    assert np.diff(margins[32:]).min() > 0


def test_auto_is_compared_with_the_best_sigma_of_each_image() -> None:
    record = {"sigma": 0.5, "routes_sampled": 1, "selected_radius": 0.5}
    found = summarise(
        [
            {**record, "radii": {"0.25": 0.4, "0.5": 0.0, "auto": 0.4}},
            {**record, "radii": {"0.25": 0.4, "0.5": 0.8, "auto": 0.5}},
        ]
    )
    assert found["mean_radius"] == pytest.approx({"0.25": 0.4, "0.5": 0.4, "auto": 0.45})
    assert found["mean_radius_of_the_best_sigma_per_image"] == pytest.approx(0.6)
    assert found["certified_accuracy"]["0.5"] == {
        "0": 0.5,
        "0.1": 0.5,
        "0.25": 0.5,
        "0.5": 0.5,
        "0.75": 0.5,
        "1.0": 0.0,
    }
    assert found["auto_at_least_95_percent_of_the_best"] == 0.5
