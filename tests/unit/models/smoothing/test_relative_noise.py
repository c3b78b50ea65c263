"""Noise on the centre that is relative to the width: golden values of the exact bounds, and what ignores the scale."""

import math
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from scipy import special

from certrad.models.smoothing.parameters import reach
from certrad.models.smoothing.relative_noise import (
    RelativeChange,
    best_ln_t,
    covers,
    largest_centre,
    lower_bound,
    margin,
)

CEILING: Final = 0.001**1e-4
HARD: Final = RelativeChange(width=1.25, centre=1.9, factor=math.exp(0.25))


@pytest.mark.parametrize(
    ("p_a", "p_b", "kappa", "ln_width_sigma", "expected"),
    [
        (0.99, 0.01, 0.25, 0.2, 1.9600),
        (0.99, 0.01, -0.25, 0.2, 1.9582),
        (CEILING, 1 - CEILING, 0.25, 0.2, 2.9439),
        (CEILING, 1 - CEILING, -0.25, 0.2, 2.9435),
        (0.9, 0.1, 0.25, 0.3, 0.9610),
        (0.9, 0.1, -0.25, 0.3, 0.9562),
        (0.99, 0.01, 0.02, 0.2, 2.3242),
        (0.99, 0.01, -0.02, 0.2, 2.3242),
        (0.9, 0.02, 0.25, 0.2, 1.0804),
        (0.9, 0.02, -0.25, 0.2, 1.0782),
    ],
)
def test_golden_values_of_the_largest_centre(
    p_a: float, p_b: float, kappa: float, ln_width_sigma: float, expected: float
) -> None:
    assert largest_centre(p_a, p_b, kappa, ln_width_sigma) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("contrasts", "brightness"), [((0.8, 1.2), 0.5995), ((0.7, 1.3), 0.5304)])
def test_golden_ceiling_of_the_brightness_with_a_contrast(contrasts: tuple[float, float], brightness: float) -> None:
    """Noise of 0.2 on both, 10,000 samples that agree; the two-step argument ends at 0.5018 and 0.3209."""
    ends = (largest_centre(CEILING, 1 - CEILING, -math.log(contrast), 0.2) for contrast in contrasts)
    assert 0.2 * min(ends) == pytest.approx(brightness, abs=6e-5)


def test_ignoring_the_scale_of_the_noise_claims_too_much() -> None:
    """p = 0.99, m = 1.25, mu = 1.9, rho = e^0.25: the ellipse says 0.52075, the worst classifier has 0.51659."""
    exact = lower_bound(0.99, HARD, best_ln_t(0.99, HARD))
    ellipse = float(special.ndtr(special.ndtri(0.99) - math.hypot(1.25, 1.9)))
    assert exact == pytest.approx(0.51659, abs=2e-5)
    assert ellipse == pytest.approx(0.52075, abs=1e-5)


def test_worst_classifier_attains_the_bound() -> None:
    """Simulated: 10^6 draws, a false alarm beyond 5 standard deviations of both draws, below 10^-6."""
    random, n, p = np.random.default_rng(7), 1_000_000, 0.99
    ln_t = best_ln_t(p, HARD)
    noise = random.normal(size=(2, n))
    after = _likelihood_ratio(noise[0] + HARD.width, HARD.centre + HARD.factor * noise[1])
    found = float((after < ln_t).mean())
    assert found == pytest.approx(lower_bound(p, HARD, ln_t), abs=5 * math.sqrt(0.25 / n))


@pytest.mark.parametrize("shift", [0.1, 0.5, 1.0])
def test_without_a_change_of_scale_it_is_the_ellipse(shift: float) -> None:
    """At rho = 1 a change of the centre up to sqrt(R^2 - m^2) is covered."""
    r = reach(0.99, 0.01)
    limit = math.sqrt(r * r - shift * shift)
    assert margin(0.99, 0.01, RelativeChange(width=shift, centre=limit - 1e-5, factor=1.0)) > 0
    assert margin(0.99, 0.01, RelativeChange(width=shift, centre=limit + 1e-5, factor=1.0)) < 0


@pytest.mark.parametrize("factor", [0.78, 1.28])
def test_bound_falls_with_the_change_of_the_centre(factor: float) -> None:
    changes = [RelativeChange(width=0.6, centre=centre, factor=factor) for centre in np.linspace(0, 3, 16)]
    found = [lower_bound(0.95, change, best_ln_t(0.95, change)) for change in changes]
    assert all(nearer > farther for nearer, farther in pairwise(found))


@pytest.mark.parametrize("away", [-2.0, -0.3, 0.3, 2.0])
def test_any_published_threshold_is_a_valid_bound(away: float) -> None:
    best = best_ln_t(0.99, HARD)
    assert lower_bound(0.99, HARD, best + away) < lower_bound(0.99, HARD, best)


def test_factor_and_its_inverse_differ_so_that_both_are_tried() -> None:
    wider, narrower = (largest_centre(0.9, 0.1, kappa, 0.3) for kappa in (0.25, -0.25))
    assert wider - narrower > 0.004
    between = (wider + narrower) / 2
    assert margin(0.9, 0.1, RelativeChange.of(0.25, between, 0.3)) > 0
    assert not covers(0.9, 0.1, 0.25, between, 0.3)


def test_range_of_factors_is_covered_with_a_slack_for_those_between_the_grid() -> None:
    smallest = min(largest_centre(0.9, 0.1, kappa, 0.3) for kappa in (0.02, -0.02))
    assert covers(0.9, 0.1, 0.02, smallest - 0.02, 0.3)
    assert not covers(0.9, 0.1, 0.02, smallest - 1e-4, 0.3)


def test_change_beyond_the_reach_leaves_no_centre() -> None:
    assert largest_centre(0.6, 0.4, 0.25, 0.2) == 0.0


@pytest.mark.parametrize(("width", "centre", "factor"), [(-1.0, 0.0, 1.0), (0.0, -1.0, 1.0), (0.0, 0.0, 0.0)])
def test_impossible_changes_are_refused(width: float, centre: float, factor: float) -> None:
    with pytest.raises(ValueError, match="must"):
        RelativeChange(width=width, centre=centre, factor=factor)


def _likelihood_ratio(on_width: np.ndarray, on_centre: np.ndarray) -> np.ndarray:
    m, mu, rho = HARD.width, HARD.centre, HARD.factor
    ratio: np.ndarray = (
        m * on_width - m * m / 2 + on_centre**2 / 2 - (on_centre - mu) ** 2 / (2 * rho * rho) - math.log(rho)
    )
    return ratio
