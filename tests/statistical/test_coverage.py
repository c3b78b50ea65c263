"""The bounds miss as rarely as they claim, in an exact sum over every outcome of the samples."""

from collections.abc import Iterator
from math import lgamma

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper, decide
from certrad.models.types import Bound, Certificate, LabelCounts, SmoothingParams

Floats = NDArray[np.float64]

SIZES = (1, 2, 3, 5, 10, 20, 50, 100, 200)
GRID = np.linspace(0.0, 1.0, 1001)


def lower_bounds(n: int, alpha: float) -> Floats:
    return np.array([clopper_pearson_lower(k, n, alpha) for k in range(n + 1)])


def upper_bounds(n: int, alpha: float) -> Floats:
    return np.array([clopper_pearson_upper(k, n, alpha) for k in range(n + 1)])


def pmf(n: int, p: Floats) -> Floats:
    """(len(p), n + 1) probabilities of each number of successes."""
    return np.asarray(stats.binom.pmf(np.arange(n + 1)[None, :], n, p[:, None]))


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
@pytest.mark.parametrize("n", SIZES)
def test_lower_bound_exceeds_the_truth_with_probability_at_most_alpha(n: int, alpha: float) -> None:
    bounds = lower_bounds(n, alpha)
    p = np.concatenate([GRID, bounds * (1 - 1e-12)])  # just below a jump is the worst place
    missed = (pmf(n, p) * (bounds[None, :] > p[:, None])).sum(axis=1)
    assert missed.max() <= alpha * (1 + 1e-9)
    assert missed.max() == pytest.approx(alpha, rel=1e-6)  # the bound is exact: none of alpha is given away


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
@pytest.mark.parametrize("n", SIZES)
def test_upper_bound_falls_below_the_truth_with_probability_at_most_alpha(n: int, alpha: float) -> None:
    bounds = upper_bounds(n, alpha)
    p = np.concatenate([GRID, bounds + (1 - bounds) * 1e-12])
    missed = (pmf(n, p) * (bounds[None, :] < p[:, None])).sum(axis=1)
    assert missed.max() <= alpha * (1 + 1e-6)
    assert missed.max() == pytest.approx(alpha, rel=1e-4)


def test_upper_bound_of_one_success_fewer_undercovers() -> None:
    n, alpha = 100, 0.05
    one_fewer = np.array([0.0, *upper_bounds(n, alpha)[:-1]])
    missed = (pmf(n, GRID) * (one_fewer[None, :] < GRID[:, None])).sum(axis=1)
    assert missed.max() > 2 * alpha


# -- the whole decision ----------------------------------------------------------------------------------------------


def joint_law(p: Floats, n: int) -> Floats:
    """P(class 0 has a samples and the largest other outcome has m) at [a, m], by generating functions.

    The coefficient of x^(n - a) in the product over j >= 1 of sum_{i <= m} (p_j x)^i / i! counts the ways in which no
    other outcome has more than m; differences over m give the law of the maximum.
    """
    log_factorial = np.array([lgamma(k + 1) for k in range(n + 1)])
    own = np.exp(np.arange(n + 1) * np.log(p[0]) - log_factorial)
    at_most = np.zeros((n + 1, n + 1))
    for m in range(n + 1):
        ways = np.ones(1)
        for q in p[1:]:
            terms = np.exp(np.arange(m + 1) * np.log(q) - log_factorial[: m + 1])
            ways = np.convolve(ways, terms)[: n + 1]
        ways = np.pad(ways, (0, n + 1 - len(ways)))
        at_most[:, m] = own * ways[::-1] * np.exp(log_factorial[n])
    return np.diff(at_most, axis=1, prepend=0.0)


def fill(a: int, m: int, n: int, others: int) -> LabelCounts | None:
    """Counts with a samples of class 0 and m as the largest of the other outcomes, the last being `invalid`."""
    rest = n - a
    if not m <= rest <= m * others:
        return None
    counts = [min(m, max(0, rest - j * m)) for j in range(others)]
    return LabelCounts(per_class=(a, *counts[:-1]), invalid=counts[-1])


def certified_radii(n: int, outcomes: int, params: SmoothingParams) -> Floats:
    """The certified radius at [a, m], 0 for an abstention or impossible counts; class 0 was selected."""
    radii = np.zeros((n + 1, n + 1))
    selection = LabelCounts(per_class=(params.n0, *[0] * (outcomes - 2)))
    for a in range(n + 1):
        for m in range(n - a + 1):
            estimation = fill(a, m, n, outcomes - 1)
            if estimation is not None:
                outcome = decide(selection, estimation, params)
                radii[a, m] = outcome.radius if isinstance(outcome, Certificate) else 0.0
    return radii


def worst_laws(n: int, outcomes: int, alpha: float) -> Iterator[Floats]:
    """Probability vectors near which the error peaks: p_A just below a jump of its bound; three kinds of others."""
    jumps = lower_bounds(n, alpha)[1:] - 1e-4  # what publishing takes off: 2e-6 of p_A and 1e-4 of the radius
    for p_a in jumps[(jumps > 0.05) & (jumps < 0.97)][:: max(1, n // 20)]:
        others = outcomes - 1
        tied = np.full(others, (1 - p_a) / others)
        yield np.array([p_a, *tied])
        one_dominates = np.array([1.0, *[1e-6] * (others - 1)])
        yield np.array([p_a, *(1 - p_a) * one_dominates / one_dominates.sum()])
        two_dominate = np.array([0.5, 0.5, *[0.02] * (others - 2)])
        yield np.array([p_a, *(1 - p_a) * two_dominate / two_dominate.sum()])


@pytest.mark.parametrize("bound", ["two_class", "cohen"])
@pytest.mark.parametrize(("n", "outcomes"), [(10, 3), (30, 3), (60, 3), (30, 4), (60, 4), (30, 9)])
def test_a_radius_exceeds_the_true_one_with_probability_at_most_alpha(n: int, outcomes: int, bound: Bound) -> None:
    """The selected class fixed, as after selection; with three outcomes there are two classes and `invalid`."""
    params = SmoothingParams(sigma=1.0, alpha=0.05, n0=10, n=n, bound=bound)
    radii = certified_radii(n, outcomes, params)
    errors = []
    spent_on_p_a = params.alpha if bound == "cohen" or outcomes == 3 else 0.9 * params.alpha
    for p in worst_laws(n, outcomes, spent_on_p_a):
        law = joint_law(p, n)
        assert law.sum() == pytest.approx(1.0, abs=1e-9)
        true_radius = (stats.norm.ppf(p[0]) - stats.norm.ppf(p[1:].max())) / 2
        errors.append(law[radii > max(true_radius, 0.0)].sum())
    assert max(errors) <= params.alpha
    assert max(errors) >= 0.99 * spent_on_p_a  # and the search found the worst case
