"""SEQ-CERTIFY decides after few samples, with a look every 25 samples and n0 not counted."""

from collections.abc import Sequence

import numpy as np
import pytest

from certrad.bench.common.sequential_simulation import simulated
from certrad.models.smoothing import SequentialDecision
from certrad.models.types import Abstention, Certificate, SmoothingParams

RUNS = 200


def runs(p: Sequence[float], target: float) -> list[tuple[int, SequentialDecision]]:
    """Runs at sigma = 1."""
    generator = np.random.default_rng(2406)
    return [simulated(p, SmoothingParams(sigma=1.0, target_radius=target), generator) for _ in range(RUNS)]


@pytest.mark.parametrize(
    ("p", "limit"),
    [
        ((0.95, 0.05), 250),  # mean 190, standard deviation 65: the mean of 200 runs is above the limit w.p. < 1e-30
        ((1.0, 0.0), 100),  # always 75
    ],
)
def test_a_probable_class_is_certified_at_sigma_after_few_samples(p: tuple[float, float], limit: int) -> None:
    found = runs(p, 1.0)
    assert np.mean([samples for samples, _ in found]) <= limit
    assert all(isinstance(verdict.outcome, Certificate) for _, verdict in found)


@pytest.mark.parametrize("p", [(0.5, 0.5), (0.5, 0.3, 0.2)])
def test_an_improbable_class_is_given_up_after_few_samples(p: tuple[float, ...]) -> None:
    """Mean 31 and 45, standard deviation below 25: above the limit with probability below 1e-15."""
    found = runs(p, 1.0)
    assert np.mean([samples for samples, _ in found]) <= 60
    assert all(isinstance(verdict.outcome, Abstention) for _, verdict in found)


def test_a_runner_up_far_behind_saves_samples() -> None:
    """K = 9, p = (0.7, 0.1, rest equal), r = sigma / 2, where the radius of one class, 0.52, is hardly enough.

    All of 4,000 other runs were in time, so a run is late with probability below 0.0035 (confidence 1 - 1e-6), and then
    eleven of 200 are with probability below 1e-9.
    """
    found = runs((0.7, 0.1, *[0.2 / 7] * 7), 0.5)
    assert np.mean([samples <= 800 and isinstance(verdict.outcome, Certificate) for samples, verdict in found]) >= 0.95
