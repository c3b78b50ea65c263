"""The decision keeps its promises for every input, not only for chosen ones."""

import math
from dataclasses import replace
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from certrad.models.smoothing.bounds import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    confidence_bounds,
    decide,
    floor_decimals,
    radius,
    raise_decimals,
)
from certrad.models.types import AlphaSplit, Bound, Certificate, LabelCounts, SmoothingParams

alphas = st.floats(1e-6, 0.05)
bounds = st.sampled_from(get_args(Bound))
probabilities = st.floats(1e-9, 1 - 1e-9)
finite = st.floats(-1e3, 1e3)


@st.composite
def binomials(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 100_000))
    return draw(st.integers(0, n)), n


@st.composite
def label_counts(draw: st.DrawFn, n: int, n_classes: int) -> LabelCounts:
    cuts = sorted(draw(st.lists(st.integers(0, n), min_size=n_classes, max_size=n_classes)))
    *per_class, invalid = [high - low for low, high in zip([0, *cuts], [*cuts, n], strict=True)]
    return LabelCounts(per_class=tuple(per_class), invalid=invalid)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[LabelCounts, LabelCounts, SmoothingParams]:
    n0 = draw(st.integers(10, 100))
    params = SmoothingParams(
        sigma=draw(st.floats(0.02, 2)), alpha=draw(alphas), n0=n0, n=draw(st.integers(n0, 10_000)), bound=draw(bounds)
    )
    n_classes = draw(st.integers(2, 9))
    return draw(label_counts(n0, n_classes)), draw(label_counts(params.n, n_classes)), params


@given(binomials(), alphas)
def test_the_bounds_lie_on_either_side_of_the_estimate(binomial: tuple[int, int], alpha: float) -> None:
    k, n = binomial
    assert 0 <= clopper_pearson_lower(k, n, alpha) <= k / n <= clopper_pearson_upper(k, n, alpha) <= 1


@given(binomials(), alphas)
def test_lower_and_upper_bound_mirror_each_other(binomial: tuple[int, int], alpha: float) -> None:
    k, n = binomial
    assert math.isclose(
        clopper_pearson_lower(k, n, alpha), 1 - clopper_pearson_upper(n - k, n, alpha), rel_tol=1e-9, abs_tol=1e-12
    )


@given(binomials(), alphas)
def test_one_more_success_raises_the_lower_bound(binomial: tuple[int, int], alpha: float) -> None:
    k, n = binomial
    assert clopper_pearson_lower(k, n + 1, alpha) < clopper_pearson_lower(k + 1, n + 1, alpha)


@given(probabilities, probabilities, st.floats(0.02, 2))
def test_swapping_the_two_probabilities_negates_the_radius(p_a: float, p_b: float, sigma: float) -> None:
    assert radius(p_a, p_b, sigma) == -radius(p_b, p_a, sigma)


@given(st.floats(), st.floats(), st.floats(0.02, 2))
def test_a_radius_is_never_nan_or_plus_infinity(p_a: float, p_b: float, sigma: float) -> None:
    assert radius(p_a, p_b, sigma) < math.inf


@given(decisions())
def test_a_decision_is_published_in_decimals(decision: tuple[LabelCounts, LabelCounts, SmoothingParams]) -> None:
    outcome = decide(*decision)
    assert floor_decimals(outcome.p_a_lower, 6) == outcome.p_a_lower
    assert raise_decimals(outcome.p_b_upper, 6) == outcome.p_b_upper
    assert 0 <= outcome.p_a_lower <= 1
    assert 0 <= outcome.p_b_upper <= 1
    if isinstance(outcome, Certificate):
        assert floor_decimals(outcome.radius, 4) == outcome.radius > 0


@given(decisions())
def test_publishing_never_enlarges_a_radius(decision: tuple[LabelCounts, LabelCounts, SmoothingParams]) -> None:
    _, estimation, params = decision
    outcome = decide(*decision)
    if isinstance(outcome, Certificate):
        top, runner_up = estimation.per_class[outcome.class_index], estimation.runner_up(outcome.class_index)
        p_a, p_b = confidence_bounds(top, runner_up, params.n, params.alpha_split(len(estimation.per_class)))
        assert outcome.radius < radius(p_a, p_b, params.sigma)


@given(decisions())
def test_the_order_of_the_other_classes_is_irrelevant(
    decision: tuple[LabelCounts, LabelCounts, SmoothingParams],
) -> None:
    _, estimation, params = decision
    first, *others = estimation.per_class
    selection = LabelCounts(per_class=(params.n0, *[0] * len(others)))
    turned = LabelCounts(per_class=(first, *reversed(others)), invalid=estimation.invalid)
    assert decide(selection, estimation, params) == decide(selection, turned, params)


@given(decisions())
def test_two_class_never_falls_short_of_cohen_at_its_share_of_alpha(
    decision: tuple[LabelCounts, LabelCounts, SmoothingParams],
) -> None:
    _, estimation, params = decision
    top, runner_up = estimation.per_class[0], estimation.runner_up(0)
    cohen = confidence_bounds(top, runner_up, params.n, AlphaSplit(p_a=0.9 * params.alpha))
    two_class = confidence_bounds(top, runner_up, params.n, replace(params, bound="two_class").alpha_split(3))
    assert radius(*two_class, 1.0) >= radius(*cohen, 1.0) - 1e-12


@given(finite, st.integers(0, 8))
def test_flooring_and_raising_bracket_the_value_within_one_unit(value: float, decimals: int) -> None:
    low, high = floor_decimals(value, decimals), raise_decimals(value, decimals)
    assert low <= value <= high
    assert high - low <= 1.001 * 10**-decimals
    assert floor_decimals(low, decimals) == low
    assert raise_decimals(high, decimals) == high
