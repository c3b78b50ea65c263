"""The martingale of SEQ-CERTIFY has the known numbers, and its decisions come in the documented order."""

import math
from dataclasses import replace

import mpmath
import pytest
from scipy import special

from certrad.models.smoothing import decide
from certrad.models.smoothing.sequential import ConfidenceSequence, SequentialDecision, SequentialTest, log_e_value
from certrad.models.types import ETA, Abstention, Certificate, LabelCounts, SmoothingParams

PARAMS = SmoothingParams(sigma=0.25, target_radius=0.25)


def phi(z: float) -> float:
    return float(special.ndtr(z))


def counts(*per_class: int, invalid: int = 0) -> LabelCounts:
    return LabelCounts(per_class=per_class, invalid=invalid)


def sequential(params: SmoothingParams = PARAMS, selection: LabelCounts | None = None) -> SequentialTest:
    return SequentialTest(params, selection or counts(95, 3, 2), look_every=25)


def exact_log_e_value(successes: int, failures: int, p0: float) -> float:
    """Computes the definition, for p0 < S / n, in 30 digits.

    I_x(a, b) = x^a (1-x)^b / (a B(a, b)) 2F1(a+b, 1; a+1; x), of p0 where that is below 0.9, else of 1 - p0.
    """
    with mpmath.workdps(30):
        p, a, b = mpmath.mpf(p0), mpmath.mpf(successes) + 0.5, mpmath.mpf(failures) + 0.5
        log_beta = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
        x, c, d = (p, a, b) if p0 < 0.9 else (1 - p, b, a)
        term = total = mpmath.exp(c * mpmath.log(x) + d * mpmath.log(1 - x) - log_beta) / c
        k = 0
        while term > total * mpmath.eps:
            term *= (c + d + k) / (c + 1 + k) * x
            total, k = total + term, k + 1
        above = 1 - total if p0 < 0.9 else total
        prior = 2 * mpmath.acos(mpmath.sqrt(p))
        return float(log_beta + mpmath.log(above / prior) - successes * mpmath.log(p) - failures * mpmath.log(1 - p))


# -- the martingale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "failures", "p0", "expected"),
    [
        (50, 0, phi(1), 7.450744),
        (95, 5, phi(1), 4.570797),
        (900, 100, phi(1), 12.161339),
        (425, 0, phi(2), 8.521124),
        (600, 400, 0.5, 17.148735),
        (5000, 5000, phi(3), -math.inf),
    ],
)
def test_log_e_value_has_the_known_answers(successes: int, failures: int, p0: float, expected: float) -> None:
    assert log_e_value(successes, failures, p0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("p0", [0.001, 0.3, 0.5, phi(1), phi(3), 0.999998 + ETA])
@pytest.mark.parametrize("n", [1, 25, 10_000])
def test_log_e_value_agrees_with_30_digits(n: int, p0: float) -> None:
    above = math.floor(n * p0) + 1
    for successes in {above, (above + n) // 2, n}:
        expected = exact_log_e_value(successes, n - successes, p0)
        assert log_e_value(successes, n - successes, p0) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_frequencies_at_or_below_the_null_are_no_evidence() -> None:
    """There Ic underflows, and a clamp would turn it into a certificate: ln M = +25422 at S = F = 5000, Phi(3)."""
    assert special.betaincc(5000.5, 5000.5, phi(3)) == 0
    for successes in range(5001):
        assert log_e_value(successes, 5000, max(phi(0), successes / (successes + 5000))) == -math.inf


@pytest.mark.parametrize("p0", [0.0, 1.0, -0.1, 1.1, math.nan])
def test_a_null_outside_the_open_unit_interval_is_refused(p0: float) -> None:
    with pytest.raises(ValueError, match=r"p0 must be in \(0, 1\)"):
        log_e_value(10, 0, p0)


# -- the confidence sequence -----------------------------------------------------------------------------------------


def rejects(successes: int, n: int, millionths: int, alpha: float) -> bool:
    return log_e_value(successes, n - successes, millionths / 10**6 + ETA) >= -math.log(alpha)


def shown(alpha: float, *looks: tuple[int, int]) -> int:
    sequence = ConfidenceSequence(alpha)
    for successes, n in looks:
        sequence.look(successes, n)
    return sequence.millionths


def test_the_bound_is_the_largest_that_a_scan_of_all_millionths_rejects() -> None:
    """The nulls that are rejected are the first ones, without a hole, whatever the counts."""
    millionths = sorted({*range(1, 999_999, 3163), *range(999_900, 999_999)})
    for n in (1, 2, 10, 100, 3000):
        for successes in {0, 1, n // 3, n // 2, n - n // 7, n - 1, n}:
            for alpha in (0.05, 1.25e-4):
                bound = shown(alpha, (successes, n))
                assert [p <= bound for p in millionths] == [rejects(successes, n, p, alpha) for p in millionths]
                assert bound == 0 or rejects(successes, n, bound, alpha)
                assert not rejects(successes, n, bound + 1, alpha)


def test_a_bound_that_was_shown_at_one_look_stays_shown() -> None:
    before = shown(0.01, (30, 30))
    assert before > 800_000
    assert shown(0.01, (30, 30), (30, 60)) == before
    assert shown(0.01, (30, 60)) < before
    assert shown(0.01, (30, 60), (1030, 1060)) == shown(0.01, (1030, 1060)) > before


def test_it_is_eta_stricter_than_what_it_claims() -> None:
    bound = shown(1.25e-4, (10**6 - 5, 10**6))
    exact = [exact_log_e_value(10**6 - 5, 5, p) + math.log(1.25e-4) for p in (bound / 1e6 + ETA, bound / 1e6 + 2 * ETA)]
    assert exact[0] >= 0 > exact[1]


def test_a_million_equal_labels_show_no_more_than_the_last_null_below_1() -> None:
    assert shown(0.3, (10**6, 10**6)) == shown(0.3, (10**7, 10**7)) - 1 == 999_997
    assert shown(0.3, (10**9, 10**9)) == 999_998


# -- the decision ----------------------------------------------------------------------------------------------------


def test_a_shown_target_is_certified_with_the_largest_bounds() -> None:
    verdict = sequential().look(counts(400, 0, 0))
    assert verdict is not None
    assert (verdict.decision.rule, verdict.decision.look_every) == ("e_process", 25)
    assert isinstance(verdict.outcome, Certificate)
    assert verdict.outcome.radius > 0.25  # the largest that is shown, not the target itself
    assert verdict.outcome.p_a_lower == shown(0.125e-3, (400, 400)) / 1e6
    assert verdict.outcome.p_b_upper == round(1 - verdict.outcome.p_a_lower, 6)


def test_a_target_that_is_shown_exactly_is_reached() -> None:
    verdict = sequential().look(counts(400, 0, 0))
    assert verdict is not None
    assert isinstance(verdict.outcome, Certificate)
    assert sequential(replace(PARAMS, target_radius=verdict.outcome.radius)).look(counts(400, 0, 0)) == verdict


def claim(test: SequentialTest, *looks: LabelCounts) -> tuple[int, int]:
    """p_a_lower and p_b_upper after the looks, in millionths, of a test that goes on until the last."""
    outcomes = [test.look(look) for look in looks]
    assert outcomes[:-1] == [None] * (len(looks) - 1)
    assert outcomes[-1] is not None
    return tuple(round(p * 1e6) for p in (outcomes[-1].outcome.p_a_lower, outcomes[-1].outcome.p_b_upper))  # type: ignore[return-value]


def test_a_runner_up_that_is_far_behind_is_bounded_by_itself() -> None:
    """p_A >= 0.63 alone is no radius of 0.085; the runner-up below 0.12 is needed."""
    params = replace(PARAMS, target_radius=0.125)
    verdict = sequential(params, counts(70, *[5] * 6)).look(counts(1400, *[100] * 6))
    assert verdict is not None
    assert verdict.decision.rule == "e_process"
    assert isinstance(verdict.outcome, Certificate)
    assert verdict.outcome.p_a_lower == shown(0.125e-3, (1400, 2000)) / 1e6
    assert verdict.outcome.p_b_upper == round(1 - shown(0.125e-3, (1900, 2000)) / 1e6, 6)
    assert verdict.outcome.p_b_upper < 1 - verdict.outcome.p_a_lower


def test_the_bound_of_the_runner_up_is_never_looser_than_the_rest() -> None:
    p_a, p_b = claim(sequential(), counts(300, 100, 0))
    assert shown(0.125e-3, (300, 400)) > 0
    assert p_b == 10**6 - p_a


def test_the_two_bounds_need_not_come_from_the_same_look() -> None:
    test = sequential(replace(PARAMS, target_radius=0.125), counts(40, *[10] * 6))
    first, second = counts(80, 20, 0, 0, 0, 0, 0), counts(500, *[250] * 6)
    p_a, p_b = claim(test, first, second)
    assert p_a == shown(0.125e-3, (80, 100)) > shown(0.125e-3, (500, 2000))
    assert 10**6 - p_b == shown(0.125e-3, (1750, 2000)) > shown(0.125e-3, (80, 100))


def test_invalid_is_a_runner_up() -> None:
    params = replace(PARAMS, target_radius=0.125)
    with_invalid = sequential(params).look(counts(1400, 40, 60, invalid=500))
    with_class = sequential(params).look(counts(1400, 500, 60, invalid=40))
    assert with_invalid == with_class


@pytest.mark.parametrize("bound", ["two_class", "cohen"])
def test_two_classes_or_cohen_spend_everything_on_p_a(bound: str) -> None:
    params = replace(PARAMS, target_radius=0.05, bound=bound)  # type: ignore[arg-type]
    selection, drawn = ((95, 5), (300, 100)) if bound == "two_class" else ((80, *[4] * 5), (300, *[20] * 5))
    p_a, p_b = claim(sequential(params, counts(*selection)), counts(*drawn))
    assert p_a == shown(0.25e-3, (300, 400))
    assert p_b == 10**6 - p_a


def test_it_goes_on_while_nothing_is_decided() -> None:
    test = sequential()
    assert test.look(counts(8, 1, 0)) is None
    assert test.running_radius == 0.0


@pytest.mark.parametrize("selection", [counts(95, 5), counts(95, 3, 2)])
def test_samples_against_the_target_are_futile(selection: LabelCounts) -> None:
    rest = [0] * (len(selection.per_class) - 2)
    verdict = sequential(selection=selection).look(counts(50, 50, *rest))
    assert verdict is not None
    assert verdict.decision.rule == "futility"
    assert isinstance(verdict.outcome, Abstention)
    assert verdict.outcome.reason == "target_not_certifiable"


def test_a_target_that_the_best_samples_to_come_would_miss_is_given_up() -> None:
    """At n = 10,000 even 10,000 of 10,000 show no more than 3.19 sigma."""
    verdict = sequential(replace(PARAMS, target_radius=0.8)).look(counts(25, 0, 0))
    assert verdict is not None
    assert verdict.decision.rule == "curtailment"
    assert isinstance(verdict.outcome, Abstention)
    assert verdict.outcome.reason == "target_not_certifiable"


def test_curtailment_begins_where_the_last_look_could_no_longer_succeed() -> None:
    params = replace(PARAMS, n=500)
    rules: dict[bool, set[str | None]] = {True: set(), False: set()}
    for failures in range(100):
        at_best = decide(counts(95, 3, 2), counts(500 - failures, failures, 0), params)
        missed = not (isinstance(at_best, Certificate) and at_best.radius >= 0.25)
        verdict = sequential(params).look(counts(499 - failures, failures, 0))
        rules[missed].add(verdict.decision.rule if verdict else None)
    assert rules[True] == {"curtailment"}
    assert "curtailment" not in rules[False]


def test_giving_up_states_what_was_shown_until_then() -> None:
    test = sequential(replace(PARAMS, n=400))
    assert test.look(counts(200, 20, 0)) is None
    running = test.running_radius
    assert 0 < running < 0.25
    verdict = test.look(counts(200, 150, 0))
    assert verdict is not None
    assert isinstance(verdict.outcome, Abstention)
    radius = 0.125 * (special.ndtri(verdict.outcome.p_a_lower) - special.ndtri(verdict.outcome.p_b_upper))
    assert 0 <= radius - running < 1e-4


def last(test: SequentialTest, *per_class: int) -> SequentialDecision:
    verdict = test.look(counts(*per_class))
    assert verdict is not None
    return verdict


def test_at_n_the_larger_radius_counts() -> None:
    params = replace(PARAMS, n=1000)
    fixed = decide(counts(95, 3, 2), counts(860, 70, 70), params)
    by_bounds = last(sequential(params), 860, 70, 70)
    assert (by_bounds.outcome, by_bounds.decision.rule) == (fixed, "clopper_pearson")
    assert isinstance(fixed, Certificate)
    assert fixed.radius < 0.3
    late = sequential(replace(params, target_radius=0.3))
    assert late.look(counts(300, 10, 10)) is None
    running = late.running_radius
    assert fixed.radius < running < 0.3
    by_process = last(late, 860, 70, 70)
    assert by_process.decision.rule == "e_process"
    assert isinstance(by_process.outcome, Certificate)
    assert by_process.outcome.radius == running


def test_at_n_without_a_radius_the_bounds_are_clopper_and_pearsons() -> None:
    params = replace(PARAMS, n=100)
    verdict = last(sequential(params), 34, 33, 33)
    assert verdict.outcome == decide(counts(95, 3, 2), counts(34, 33, 33), params)
    assert isinstance(verdict.outcome, Abstention)
    assert (verdict.outcome.reason, verdict.decision.rule) == ("no_majority", "clopper_pearson")


def test_the_last_look_spends_only_what_the_e_processes_left() -> None:
    outcome = last(sequential(replace(PARAMS, n=1000)), 860, 70, 70).outcome
    assert outcome.p_a_lower == pytest.approx(special.betaincinv(860, 141, 0.65e-3) - ETA, abs=1e-6)
    assert outcome.p_b_upper == pytest.approx(special.betaincinv(71, 930, 1 - 0.1e-3) + ETA, abs=1e-6)


def test_the_running_radius_never_falls() -> None:
    test = sequential(replace(PARAMS, target_radius=0.75))
    radii = []
    for n, top in ((100, 100), (200, 195), (300, 290), (400, 350)):
        test.look(counts(top, n - top, 0))
        radii.append(test.running_radius)
    assert radii == sorted(radii)
    assert radii[0] > 0
    assert radii[-1] == radii[1]


def test_no_selected_class_is_never_certified() -> None:
    verdict = sequential(selection=counts(40, 0, 0, invalid=60)).look(counts(64, 0, 0))
    assert verdict is not None
    assert verdict.outcome == Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)


def test_the_target_and_the_selection_are_fixed_before_the_first_sample() -> None:
    with pytest.raises(ValueError, match="must have a target radius and selection 100 samples"):
        sequential(selection=counts(90, 3, 2))
    with pytest.raises(ValueError, match="a target radius"):
        sequential(replace(PARAMS, target_radius=None))
