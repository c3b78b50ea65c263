"""Bounds are exact, radii have the published rounding, and every way to abstain is taken."""

import math
from fractions import Fraction
from typing import get_args

import pytest
from scipy import stats

from certrad.models.smoothing.accuracy import certified_accuracy
from certrad.models.smoothing.bounds import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    confidence_bounds,
    decide,
    decide_class,
    floor_decimals,
    radius,
    raise_decimals,
)
from certrad.models.types import Abstention, Bound, Certificate, LabelCounts, SmoothingParams

BOUNDS = get_args(Bound)


def counts(*per_class: int, invalid: int = 0) -> LabelCounts:
    return LabelCounts(per_class=per_class, invalid=invalid)


def cohen_radius(successes: int, n: int, alpha: float = 0.001, sigma: float = 1.0) -> float:
    p_a_lower = clopper_pearson_lower(successes, n, alpha)
    return radius(p_a_lower, 1 - p_a_lower, sigma)


# -- golden values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "expected", "digits"),
    [
        (5155, 10_000, 0.49999994, 8),
        (5156, 10_000, 0.50010, 5),
        (6000, 10_000, 0.5847476704, 10),
        (7500, 10_000, 0.7364035666, 10),
        (9000, 10_000, 0.8904097337, 10),
        (9900, 10_000, 0.9865311593, 10),
        (9990, 10_000, 0.9975883080, 10),
        (10_000, 10_000, 0.9993094630, 10),
        (10_000, 10_000, 0.9993094630025899, 14),
        (9990, 10_000, 0.9975883080325683, 14),
        (9000, 10_000, 0.8904097336749064, 14),
        (5200, 10_000, 0.5045018488791799, 14),
        (95, 100, 0.8446326941895317, 14),
    ],
)
def test_clopper_pearson_lower_golden_values(successes: int, n: int, expected: float, digits: int) -> None:
    assert clopper_pearson_lower(successes, n, 0.001) == pytest.approx(expected, abs=0.51 * 10**-digits)


def test_two_class_bounds_golden_values() -> None:
    assert clopper_pearson_lower(7000, 10_000, 9e-4) == pytest.approx(0.6855123106824406, abs=1e-14)
    assert clopper_pearson_upper(1000, 10_000, 1e-4) == pytest.approx(0.11159076874229922, abs=1e-14)
    p_a_lower, p_b_upper = confidence_bounds(7000, 1000, 10_000, PARAMS.alpha_split(4))
    assert (p_a_lower, p_b_upper) == pytest.approx((0.6855123106824406, 0.11159076874229922), abs=1e-13)
    assert radius(p_a_lower, p_b_upper, 1.0) == pytest.approx(0.850641, abs=1e-6)


@pytest.mark.parametrize(
    ("successes", "expected"),
    [
        (5200, 0.011285),
        (6000, 0.214054),
        (7500, 0.632297),
        (9000, 1.228710),
        (9900, 2.212420),
        (9990, 2.818598),
        (10_000, 3.198578),
    ],
)
def test_radius_golden_values_in_units_of_sigma(successes: int, expected: float) -> None:
    assert cohen_radius(successes, 10_000) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "ceilings"),
    [
        (1e-2, (1.695, 2.164, 2.605, 2.961, 3.314, 3.609, 3.911, 4.435)),
        (1e-3, (1.500, 2.000, 2.463, 2.834, 3.1986, 3.503, 3.811, 4.347)),
        (1e-5, (1.233, 1.779, 2.275, 2.667, 3.048, 3.364, 3.683, 4.233)),
    ],
)
def test_largest_radius_when_all_samples_agree(alpha: float, ceilings: tuple[float, ...]) -> None:
    sizes = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)
    assert [cohen_radius(n, n, alpha) for n in sizes] == pytest.approx(ceilings, abs=5.1e-4)


def test_largest_radius_at_a_quarter_of_alpha() -> None:
    assert cohen_radius(10_000, 10_000, 0.001 / 4) == pytest.approx(3.1455, abs=5e-5)


@pytest.mark.parametrize(
    ("target", "n_min"),
    [(0.5, 19), (1, 40), (1.5, 100), (2, 301), (2.5, 1109), (3, 5114), (3.2, 10_050), (3.5, 29_691), (4, 218_105)],
)
def test_samples_that_must_agree_for_a_radius(target: float, n_min: int) -> None:
    assert cohen_radius(n_min - 1, n_min - 1) < target <= cohen_radius(n_min, n_min)


@pytest.mark.parametrize(("n", "successes"), [(100, 66), (1000, 550), (10_000, 5156), (100_000, 50_490)])
def test_smallest_majority_with_a_positive_radius(n: int, successes: int) -> None:
    assert cohen_radius(successes - 1, n) <= 0 < cohen_radius(successes, n)


@pytest.mark.parametrize(("n", "votes"), [(10_000, 5166), (1000, 553)])
def test_smallest_majority_that_predict_accepts(n: int, votes: int) -> None:
    assert decide_class(counts(votes, n - votes), 0.001) == 0
    assert decide_class(counts(votes - 1, n - votes + 1), 0.001) is None


# -- Clopper-Pearson -------------------------------------------------------------------------------------------------


def test_no_success_bounds_nothing_from_below() -> None:
    assert clopper_pearson_lower(0, 100, 0.001) == 0.0


def test_no_failure_bounds_nothing_from_above() -> None:
    assert clopper_pearson_upper(100, 100, 0.001) == 1.0


@pytest.mark.parametrize(("successes", "n"), [(1, 1), (1, 100), (99, 100), (100, 100), (9990, 10_000), (1, 1_000_000)])
@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.5])
def test_lower_bound_solves_its_equation(successes: int, n: int, alpha: float) -> None:
    p = clopper_pearson_lower(successes, n, alpha)
    assert stats.binom.sf(successes - 1, n, p) == pytest.approx(alpha, rel=1e-8)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 100), (1, 100), (99, 100), (10, 10_000), (0, 1_000_000)])
@pytest.mark.parametrize("alpha", [1e-7, 1e-3, 0.5])
def test_upper_bound_solves_its_equation(successes: int, n: int, alpha: float) -> None:
    p = clopper_pearson_upper(successes, n, alpha)
    assert stats.binom.cdf(successes, n, p) == pytest.approx(alpha, rel=1e-8)


@pytest.mark.parametrize("bound", [clopper_pearson_lower, clopper_pearson_upper])
@pytest.mark.parametrize(
    ("successes", "n", "alpha"),
    [(-1, 10, 0.1), (11, 10, 0.1), (0, 0, 0.1), (5, 10, 0.0), (5, 10, 1.0), (5, 10, math.nan)],
)
def test_impossible_arguments_of_a_bound_are_refused(bound: object, successes: int, n: int, alpha: float) -> None:
    assert callable(bound)
    with pytest.raises(ValueError, match="got"):
        bound(successes, n, alpha)


# -- radius ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p_a_lower", "p_b_upper"),
    [
        (0.0, 1.0),
        (-1e-6, 1 + 1e-6),
        (0.9, 0.0),
        (1.0, 0.1),
        (1.5, 0.1),
        (0.9, -0.1),
        (math.nan, 0.1),
        (0.9, math.nan),
        (math.inf, 0.1),
        (0.9, -math.inf),
    ],
)
def test_no_radius_outside_the_open_unit_interval(p_a_lower: float, p_b_upper: float) -> None:
    assert radius(p_a_lower, p_b_upper, 0.25) == -math.inf


def test_a_comparison_for_no_radius_would_certify_nan() -> None:
    """Why `radius` never returns NaN: with eta, `abstain if r <= 0` certifies an image of which no sample agrees."""
    z = stats.norm.ppf
    naive = 0.25 / 2 * (z(0.0 - 1e-6) - z(1.0 + 1e-6))
    assert not naive <= 0
    assert radius(0.0 - 1e-6, 1.0 + 1e-6, 0.25) <= 0


# -- decide ----------------------------------------------------------------------------------------------------------

PARAMS = SmoothingParams(sigma=1.0, n0=100, n=10_000)


def test_published_numbers_of_a_certificate() -> None:
    outcome = decide(counts(97, 1, 1, 1), counts(7000, 1000, 1000, 1000), PARAMS)
    # p_A = 0.68551231 - 1e-6 floored, p_B = 0.11159077 + 1e-6 raised, and the radius of these two floored
    assert outcome == Certificate(class_index=0, radius=0.8506, p_a_lower=0.685511, p_b_upper=0.111592)


@pytest.mark.parametrize(("sigma", "ceiling"), [(0.1, 0.3197), (0.25, 0.7994), (0.5, 1.5989), (1.0, 3.1979)])
def test_the_largest_radius_is_floored_never_rounded_up(sigma: float, ceiling: float) -> None:
    params = SmoothingParams(sigma=sigma, bound="cohen")
    outcome = decide(counts(100, 0), counts(10_000, 0), params)
    assert isinstance(outcome, Certificate)
    assert outcome.radius == ceiling
    # eta and the rounding of p_A together cost at most 2e-6 in probability
    exact = sigma * stats.norm.ppf(0.9993094630025899)
    cost = sigma * 2e-6 / stats.norm.pdf(3.2)
    assert exact - cost - 1e-4 <= outcome.radius <= exact


def test_the_radius_follows_from_the_published_probabilities() -> None:
    for successes in range(5200, 10_001, 100):
        outcome = decide(counts(100, 0), counts(successes, 10_000 - successes), PARAMS)
        assert isinstance(outcome, Certificate)
        assert outcome.radius == floor_decimals(radius(outcome.p_a_lower, outcome.p_b_upper, 1.0), 4)


@pytest.mark.parametrize("n", [10, 100, 1000, 10_000])
def test_the_published_pair_sums_to_one_with_cohen(n: int) -> None:
    params = SmoothingParams(n0=10, n=n, bound="cohen")
    for successes in range(1, n + 1, max(1, n // 1000)):
        outcome = decide(counts(10, 0, 0), counts(successes, n - successes, 0), params)
        assert Fraction(repr(outcome.p_a_lower)) + Fraction(repr(outcome.p_b_upper)) == 1


def test_eta_is_taken_off_p_a_and_put_on_p_b() -> None:
    estimation = counts(7000, 1000, 1000, 1000)
    p_a_lower, p_b_upper = confidence_bounds(7000, 1000, 10_000, PARAMS.alpha_split(4))
    outcome = decide(counts(100, 0, 0, 0), estimation, PARAMS)
    assert 1e-6 <= p_a_lower - outcome.p_a_lower <= 2e-6
    assert 1e-6 <= outcome.p_b_upper - p_b_upper <= 2e-6


def test_the_class_comes_from_the_selection_samples() -> None:
    outcome = decide(counts(10, 90), counts(9000, 1000), PARAMS)
    assert isinstance(outcome, Abstention)
    assert decide(counts(90, 10), counts(9000, 1000), PARAMS) == decide(counts(51, 49), counts(9000, 1000), PARAMS)


def test_a_tie_in_selection_goes_to_the_lowest_index() -> None:
    outcome = decide(counts(0, 50, 50), counts(0, 9000, 1000), PARAMS)
    assert isinstance(outcome, Certificate)
    assert outcome.class_index == 1


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_tie_in_estimation_abstains(bound: Bound) -> None:
    params = SmoothingParams(bound=bound)
    assert decide(counts(60, 40, 0), counts(5000, 5000, 0), params) == decide(
        counts(60, 0, 40), counts(5000, 5000, 0), params
    )
    assert isinstance(decide(counts(60, 40, 0), counts(5000, 5000, 0), params), Abstention)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("others", [1, 2, 8])
def test_a_class_that_no_estimation_sample_has_abstains(bound: Bound, others: int) -> None:
    selection, estimation = counts(100, *[0] * others), counts(0, 10_000, *[0] * (others - 1))
    outcome = decide(selection, estimation, SmoothingParams(bound=bound))
    assert outcome == Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)


def test_selected_invalid_abstains_and_shows_nothing() -> None:
    outcome = decide(counts(20, 20, 20, invalid=40), counts(10_000, 0, 0), PARAMS)
    assert outcome == Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)


def test_invalid_is_a_runner_up() -> None:
    with_invalid = decide(counts(100, 0, 0), counts(7000, 1000, 0, invalid=2000), PARAMS)
    with_class = decide(counts(100, 0, 0), counts(7000, 1000, 2000), PARAMS)
    assert with_invalid == with_class


def test_two_classes_spend_all_of_alpha_on_p_a() -> None:
    for bound in BOUNDS:
        split = SmoothingParams(bound=bound).alpha_split(2)
        assert confidence_bounds(9000, 1000, 10_000, split)[0] == clopper_pearson_lower(9000, 10_000, 0.001)


def test_cohen_ignores_the_runner_up() -> None:
    params = SmoothingParams(bound="cohen")
    spread, dense = counts(9000, 500, 500), counts(9000, 1000, 0)
    assert decide(counts(100, 0, 0), spread, params) == decide(counts(100, 0, 0), dense, params)


def test_two_class_certifies_without_an_absolute_majority() -> None:
    selection, estimation = counts(45, 20, *[5] * 7), counts(4500, 2000, *[500] * 7)
    assert isinstance(decide(selection, estimation, PARAMS), Certificate)
    assert isinstance(decide(selection, estimation, SmoothingParams(bound="cohen")), Abstention)


def test_a_radius_that_floors_to_zero_abstains() -> None:
    """5156 of 10,000 is the smallest majority with a positive radius, 0.00025 sigma; published, it is 0."""
    outcome = decide(counts(100, 0), counts(5156, 4844), SmoothingParams(sigma=0.25))
    assert isinstance(outcome, Abstention)
    assert outcome.p_a_lower > 0.5


def test_abstention_publishes_the_bounds_it_rests_on() -> None:
    outcome = decide(counts(100, 0), counts(5000, 5000), PARAMS)
    assert outcome == Abstention(reason="no_majority", p_a_lower=0.484501, p_b_upper=0.515499)


@pytest.mark.parametrize(
    ("selection", "estimation"),
    [
        (counts(99, 0), counts(10_000, 0)),
        (counts(100, 0), counts(9999, 0)),
        (counts(100, 0), counts(20_000, 0)),
        (counts(100, 0), counts(10_000, 0, 0)),
    ],
)
def test_counts_of_other_samples_than_asked_are_refused(selection: LabelCounts, estimation: LabelCounts) -> None:
    with pytest.raises(ValueError, match="got"):
        decide(selection, estimation, PARAMS)


# -- predict ---------------------------------------------------------------------------------------------------------


def test_predict_abstains_on_a_tie() -> None:
    assert decide_class(counts(500, 500), 0.05) is None


def test_predict_counts_invalid_as_a_runner_up() -> None:
    assert decide_class(counts(520, 10, invalid=470), 0.001) is None
    assert decide_class(counts(520, 10, 235, 235), 0.001) == 0


def test_predict_abstains_when_invalid_is_most_frequent() -> None:
    assert decide_class(counts(10, 10, invalid=980), 0.001) is None


# -- certified accuracy ----------------------------------------------------------------------------------------------

RESULTS: list[tuple[Certificate | Abstention, int]] = [
    (Certificate(class_index=0, radius=0.5, p_a_lower=0.9, p_b_upper=0.1), 0),
    (Certificate(class_index=0, radius=0.25, p_a_lower=0.8, p_b_upper=0.2), 0),
    (Certificate(class_index=1, radius=0.75, p_a_lower=0.9, p_b_upper=0.1), 0),
    (Abstention(reason="no_majority", p_a_lower=0.4, p_b_upper=0.6), 0),
]


@pytest.mark.parametrize(("r", "expected"), [(0.0, 0.5), (0.25, 0.5), (0.2501, 0.25), (0.5, 0.25), (0.75, 0.0)])
def test_certified_accuracy_counts_correct_images_with_radius_at_least_r(r: float, expected: float) -> None:
    assert certified_accuracy(iter(RESULTS), r) == expected


def test_certified_accuracy_needs_images() -> None:
    with pytest.raises(ValueError, match="got none"):
        certified_accuracy([], 0.0)


@pytest.mark.parametrize("r", [-0.1, math.nan])
def test_certified_accuracy_needs_a_radius(r: float) -> None:
    with pytest.raises(ValueError, match="r must be >= 0"):
        certified_accuracy(RESULTS, r)


# -- decimals --------------------------------------------------------------------------------------------------------


def test_flooring_is_idempotent_where_a_product_is_not() -> None:
    values = [k / 1e6 for k in range(0, 1_000_000, 97)]
    assert any(math.floor(value * 1e6) / 1e6 != value for value in values)
    assert all(floor_decimals(value, 6) == value == raise_decimals(value, 6) for value in values)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_have_no_decimals(value: float) -> None:
    assert floor_decimals(value, 4) == raise_decimals(value, 4) == value
