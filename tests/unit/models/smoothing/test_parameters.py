"""The ellipsoid of windows and L2 changes: its golden values, its tightness, and the rounding of what is published."""

import math
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from certrad.models.smoothing.bounds import radius
from certrad.models.smoothing.parameters import (
    parameter_limits,
    reach,
)
from certrad.models.types.parameters import (
    LN_WINDOW_WIDTH_SIGMA_RANGE,
    PUBLISHED_SHARES,
    WINDOW_CENTRE_SIGMA_RANGE,
    ParameterSigma,
    Shares,
)

HU: Final = ParameterSigma(window_centre=50.0, ln_window_width=0.2)
P_A: Final = 0.99
P_B: Final = 0.01
CENTRE_ALONE, WIDTH_ALONE, L2_ALONE, WINDOW, ALL = PUBLISHED_SHARES


def test_golden_values_of_the_example_in_hounsfield_units() -> None:
    """116.32 HU alone, 62.80 to 159.24% of the width alone, together 82.25 HU with 71.96 to 138.96%."""
    assert reach(P_A, P_B) == pytest.approx(2.326348, abs=1e-6)
    exact = 2 * 2.326347874040841 * math.sqrt(0.5) / 10
    assert (math.exp(-exact), math.exp(exact)) == pytest.approx((0.7196, 1.3896), abs=5e-5)
    assert parameter_limits(P_A, P_B, HU, 0.25, CENTRE_ALONE).centre == 116.3173
    width = parameter_limits(P_A, P_B, HU, 0.25, WIDTH_ALONE)
    assert (width.width_low, width.width_high) == (0.6280, 1.5924)
    both = parameter_limits(P_A, P_B, HU, 0.25, WINDOW)
    assert (both.centre, both.width_low, both.width_high, both.l2) == (82.2488, 0.7197, 1.3895, 0.0)


def test_ceiling_of_ten_thousand_samples_that_agree() -> None:
    p_a = 0.001**1e-4
    assert reach(p_a, 1 - p_a) == pytest.approx(3.198578, abs=1e-6)


@pytest.mark.parametrize("shares", PUBLISHED_SHARES)
@pytest.mark.parametrize(("p_a", "p_b"), [(0.99, 0.01), (0.9, 0.02), (0.6855, 0.1116), (0.999309, 0.000691)])
def test_published_limits_are_within_the_ellipsoid_and_all_but_exhaust_it(
    shares: Shares, p_a: float, p_b: float
) -> None:
    """Radii and centre are floored, the lower factor raised, the upper one floored: never outside, at most 10^-4 in."""
    sigma, r = 0.25, reach(p_a, p_b)
    found = parameter_limits(p_a, p_b, HU, sigma, shares)
    for factor in (found.width_low, found.width_high):
        used = (found.centre / 50, math.log(factor) / 0.2, found.l2 / sigma)
        assert math.hypot(*used) <= r
    widest = (
        (found.centre + 1e-4) / 50 if shares.centre else 0.0,
        math.log(found.width_high + 1e-4) / 0.2 if shares.width else 0.0,
        (found.l2 + 1e-4) / sigma if shares.l2 else 0.0,
    )
    assert math.hypot(*widest) > r
    low = math.log(found.width_low - 1e-4) / 0.2
    assert not shares.width or low**2 > shares.width * r**2


def test_shares_of_each_published_part_use_the_whole_reach() -> None:
    assert all(each.centre + each.width + each.l2 == 1 for each in PUBLISHED_SHARES)


@pytest.mark.parametrize(("share_of_window", "left"), [(0.0, 1.0), (0.25, 0.8660254), (0.5, 0.7071068), (0.75, 0.5)])
def test_share_of_the_window_leaves_the_rest_to_l2(share_of_window: float, left: float) -> None:
    """A share q of R^2 on the window leaves sqrt(1 - q) sigma R of L2."""
    found = parameter_limits(P_A, P_B, HU, 0.25, Shares(centre=share_of_window, width=0.0, l2=1 - share_of_window))
    assert found.l2 == pytest.approx(left * radius(P_A, P_B, 0.25), abs=1e-4)


def test_without_pixel_noise_no_l2_change_is_covered() -> None:
    assert parameter_limits(P_A, P_B, HU, 0.0, ALL).l2 == 0.0


@pytest.mark.parametrize(("p_a", "p_b"), [(0.4, 0.5), (0.0, 1.0), (1.0, 0.0), (math.nan, 0.1)])
def test_nothing_is_covered_where_no_class_is_shown(p_a: float, p_b: float) -> None:
    found = parameter_limits(p_a, p_b, HU, 0.25, ALL)
    assert (found.centre, found.width_low, found.width_high, found.l2) == (0.0, 1.0, 1.0, 0.0)
    assert not reach(p_a, p_b) > 0


@pytest.mark.parametrize("p", [0.6, 0.9, 0.99, 0.99931])
def test_half_planes_keep_their_class_just_within_the_reach_and_lose_it_just_beyond(p: float) -> None:
    """The ellipse is tight: at 0.999 R the class still leads, at 1.001 R another one does."""
    r = reach(p, 1 - p)
    assert special.ndtr(special.ndtri(p) - 0.999 * r) > 0.5 > special.ndtr(special.ndtri(p) - 1.001 * r)


def test_no_random_classifier_of_the_plane_changes_within_its_ellipse() -> None:
    """Voronoi classifiers of 4 classes with exact probabilities on a grid, attacked in 24 directions."""
    random = np.random.default_rng(7)
    grid = np.linspace(-6, 6, 161)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    attacks, changes = 0, []
    for _ in range(40):
        sites = int(random.integers(3, 12))
        points = random.normal(size=(sites, 2)) * random.uniform(0.5, 4)
        classes = random.integers(0, 4, sites)
        nearest = ((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).argmin(-1)
        labels = classes[nearest]
        p = _probabilities(grid, labels, (0.0, 0.0))
        top, (runner_up, most) = int(p.argmax()), np.sort(p)[-2:]
        if not (most < 0.9999 and runner_up > 1e-6 and most - runner_up > 0.01):
            continue
        r = reach(float(most), float(runner_up))
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            for part in (0.6, 0.99):
                attacks += 1
                shift = (part * r * math.cos(angle), part * r * math.sin(angle))
                if int(_probabilities(grid, labels, shift).argmax()) != top:
                    changes.append((part, angle))
    assert attacks > 500
    assert not changes


@pytest.mark.parametrize("kind", ["constant", "sign_changing", "random", "multiplicative"])
def test_l2_shift_that_depends_on_the_window_is_no_worse_than_the_constant_one(kind: str) -> None:
    """The product rule against the exact worst set, by Neyman and Pearson on a grid of (window, pixel) noise."""
    random = np.random.default_rng(3)
    for _ in range(6):
        p, delta, r = random.uniform(0.6, 0.999), random.uniform(0, 1.5), random.uniform(0, 1.5)
        shifts = {
            "constant": r * np.ones_like(GRID),
            "sign_changing": r * np.sign(np.sin(random.uniform(1, 9) * GRID)),
            "random": r * random.uniform(-1, 1, GRID.size),
            "multiplicative": r * np.exp(-np.maximum(0, random.uniform(0.1, 1) * (GRID + random.uniform(0, 3)))),
        }[kind]
        worst = _worst_probability(p, delta, shifts)
        assert worst > special.ndtr(special.ndtri(p) - math.hypot(delta, r)) - 2e-4


@pytest.mark.parametrize(
    ("centre", "ln_width"),
    [
        (WINDOW_CENTRE_SIGMA_RANGE[0] / 2, 0.2),
        (WINDOW_CENTRE_SIGMA_RANGE[1] * 2, 0.2),
        (math.nan, 0.2),
        (50.0, LN_WINDOW_WIDTH_SIGMA_RANGE[0] / 2),
        (50.0, LN_WINDOW_WIDTH_SIGMA_RANGE[1] * 2),
        (50.0, math.nan),
        (50.0, 0.0),
    ],
)
def test_standard_deviations_out_of_range_are_refused(centre: float, ln_width: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        ParameterSigma(window_centre=centre, ln_window_width=ln_width)


GRID: Final = np.linspace(-8, 8, 401)
STEP: Final = float(GRID[1] - GRID[0])


def _density(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * STEP
    return found


def _worst_probability(p: float, delta: float, shifts: NDArray[np.float64]) -> float:
    """The smallest probability after a change that a set of probability p before it can have."""
    window, pixels = np.meshgrid(GRID, GRID, indexing="ij")
    before = (_density(window) * _density(pixels)).ravel()
    after = (_density(window - delta) * _density(pixels - shifts[:, None])).ravel()
    order = np.argsort(after / before)
    taken = int(np.searchsorted(np.cumsum(before[order]), p))
    return float(after[order][:taken].sum())


def _probabilities(
    grid: NDArray[np.float64], labels: NDArray[np.int64], shift: tuple[float, float]
) -> NDArray[np.float64]:
    across, down = (np.exp(-((grid - by) ** 2) / 2) for by in shift)
    weights = np.outer(across / across.sum(), down / down.sum())
    found: NDArray[np.float64] = np.bincount(labels.ravel(), weights.ravel(), 4).astype(np.float64)
    return found
