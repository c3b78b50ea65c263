"""Wrong versions of the two-class rule that look right are caught where the right one keeps its promise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.smoothing.bounds import clopper_pearson_lower, confidence_bounds, radius
from certrad.models.types import AlphaSplit, Bound, LabelCounts, SmoothingParams

FALSE_ALARM = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """True class probabilities, sample sizes and the promised error."""

    p: tuple[float, ...]
    n0: int
    n: int
    alpha: float

    def true_radius(self, class_index: int) -> float:
        others = max(p for j, p in enumerate(self.p) if j != class_index)
        return float(special.ndtri(self.p[class_index]) - special.ndtri(others)) / 2


Rule = Callable[[NDArray[np.int64], NDArray[np.int64], float], tuple[int, float]]
"""(selection counts, estimation counts, alpha) -> (class, claimed radius at sigma = 1)"""


def claimed(counts: LabelCounts, class_index: int, alpha: float, bound: Bound = "two_class") -> float:
    params = SmoothingParams(bound=bound)
    shares = params.alpha_split(len(counts.per_class))
    split = AlphaSplit(p_a=shares.p_a * alpha / params.alpha, p_b=shares.p_b * alpha / params.alpha)
    top, runner_up = counts.per_class[class_index], counts.runner_up(class_index)
    return radius(*confidence_bounds(top, runner_up, counts.total, split), 1.0)


def as_shipped(selection: NDArray[np.int64], estimation: NDArray[np.int64], alpha: float) -> tuple[int, float]:
    class_index = LabelCounts(per_class=tuple(selection.tolist())).top
    assert class_index is not None
    counts = LabelCounts(per_class=tuple(estimation.tolist()))
    return class_index, claimed(counts, class_index, alpha)


def two_class(k_a: int, k_b: int, n: int, alpha: float) -> float:
    lower = special.betaincinv(k_a, n - k_a + 1, 0.9 * alpha) if k_a else 0.0
    upper = special.betaincinv(k_b + 1, n - k_b, 1 - 0.1 * alpha) if k_b < n else 1.0
    return float(special.ndtri(lower) - special.ndtri(min(upper, 1 - lower))) / 2


def runner_up_from_selection(
    selection: NDArray[np.int64], estimation: NDArray[np.int64], alpha: float
) -> tuple[int, float]:
    a = int(selection.argmax())
    b = int(np.where(np.arange(selection.size) == a, -1, selection).argmax())
    return a, two_class(int(estimation[a]), int(estimation[b]), int(estimation.sum()), alpha)


def conditioned_on_the_two(
    selection: NDArray[np.int64], estimation: NDArray[np.int64], alpha: float
) -> tuple[int, float]:
    a = int(selection.argmax())
    k_a, k_b = int(estimation[a]), int(np.delete(estimation, a).max())
    return a, two_class(k_a, k_b, k_a + k_b, alpha)


def upper_bound_without_plus_one(
    selection: NDArray[np.int64], estimation: NDArray[np.int64], alpha: float
) -> tuple[int, float]:
    a = int(selection.argmax())
    k_a, k_b, n = int(estimation[a]), int(np.delete(estimation, a).max()), int(estimation.sum())
    lower = special.betaincinv(k_a, n - k_a + 1, 0.9 * alpha)
    upper = special.betaincinv(k_b, n - k_b + 1, 1 - 0.1 * alpha) if k_b else 0.0
    return a, float(special.ndtri(lower) - special.ndtri(min(upper, 1 - lower))) / 2


def selected_on_the_estimation_samples(
    _selection: NDArray[np.int64], estimation: NDArray[np.int64], alpha: float
) -> tuple[int, float]:
    return as_shipped(estimation, estimation, alpha)


def wrong_claims(rule: Rule, case: Case, trials: int) -> int:
    """Returns how many of the trials claim more than the true radius of the class they name."""
    rng = np.random.default_rng(20240817)
    selections = rng.multinomial(case.n0, case.p, size=trials)
    estimations = rng.multinomial(case.n, case.p, size=trials)
    claims = (
        rule(selection, estimation, case.alpha) for selection, estimation in zip(selections, estimations, strict=True)
    )
    return sum(claim > max(case.true_radius(class_index), 0.0) for class_index, claim in claims)


TRIALS = 3000

PLANTED = [
    (runner_up_from_selection, Case(p=(0.5, 0.3, 0.2), n0=8, n=4000, alpha=0.05)),
    (conditioned_on_the_two, Case(p=(0.5, *[0.0625] * 8), n0=100, n=400, alpha=0.1)),
    (upper_bound_without_plus_one, Case(p=(0.98, 0.01, 0.01), n0=100, n=100, alpha=0.05)),
    (selected_on_the_estimation_samples, Case(p=(0.5, 0.5), n0=100, n=301, alpha=0.05)),
]


@pytest.mark.parametrize(("planted", "case"), PLANTED)
def test_the_shipped_rule_errs_at_most_alpha(planted: Rule, case: Case) -> None:
    limit = stats.binom.ppf(1 - FALSE_ALARM, TRIALS, case.alpha)
    assert wrong_claims(as_shipped, case, TRIALS) <= limit


@pytest.mark.parametrize(("planted", "case"), PLANTED)
def test_a_planted_wrong_rule_is_caught(planted: Rule, case: Case) -> None:
    limit = stats.binom.ppf(1 - FALSE_ALARM, TRIALS, case.alpha)
    assert wrong_claims(planted, case, TRIALS) > limit


def test_a_class_chosen_from_its_own_samples_errs_twice_as_often() -> None:
    """Exact: at p = (1/2, 1/2) each class errs with probability up to alpha, and either may be chosen."""
    n, alpha = 301, 0.05
    lower = np.array([clopper_pearson_lower(k, n, alpha) for k in range(n + 1)])
    pmf = stats.binom.pmf(np.arange(n + 1), n, 0.5)
    independent = pmf[lower > 0.5].sum()
    reused = pmf[np.maximum(lower, lower[::-1]) > 0.5].sum()
    assert independent <= alpha < reused
    assert reused == pytest.approx(2 * independent)


def test_two_class_gains_where_the_remaining_mass_is_spread() -> None:
    """K = 9, p = (0.7, 0.1, rest equal), n = 10,000: mean R / sigma 0.85 against 0.48 of Cohen's bound."""
    rng = np.random.default_rng(5)
    draws = [
        LabelCounts(per_class=tuple(row)) for row in rng.multinomial(10_000, [0.7, 0.1, *[0.2 / 7] * 7], 50).tolist()
    ]
    two = np.mean([claimed(draw, 0, 0.001) for draw in draws])
    one = np.mean([claimed(draw, 0, 0.001, "cohen") for draw in draws])
    assert two == pytest.approx(0.851, abs=0.01)
    assert one == pytest.approx(0.484, abs=0.01)
