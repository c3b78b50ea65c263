"""The curve of radius against samples agrees with other arithmetic, and ends at the certificate."""

import math
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from certrad.models.smoothing import SequentialTest, count, decide
from certrad.models.smoothing.curve import radius_curve
from certrad.models.types import Bound, Certificate, Decision, LabelCounts, SmoothingParams
from certrad.models.types.evidence import Evidence
from certrad.models.types.figures import CurvePoint, RadiusCurve

NAMES: Final = ("abdomen", "breast", "chest")
PARAMS: Final = SmoothingParams(n0=20, n=5000)
SELECTION: Final = LabelCounts(per_class=(1, 18, 0), invalid=1)


def labels(n: int, p: float = 0.9) -> NDArray[np.uint16]:
    rest = 1 - p
    drawn = np.random.default_rng(7).choice(4, size=n, p=[0.7 * rest, p, 0.2 * rest, 0.1 * rest])
    return drawn.astype("<u2")


def evidence(drawn: NDArray[np.uint16], params: SmoothingParams) -> Evidence:
    """Returns what CERTIFY or SEQ-CERTIFY makes of labels."""
    counts = count(drawn, len(NAMES))
    outcome, decision = decide(SELECTION, counts, params) if len(drawn) == params.n else None, Decision()
    if params.target_radius is not None:
        test = SequentialTest(params, SELECTION, look_every=64)
        looks = [*range(64, len(drawn), 64), len(drawn)]
        verdicts = ((n, test.look(count(drawn[:n], len(NAMES)))) for n in looks)
        stop, verdict = next((n, verdict) for n, verdict in verdicts if verdict is not None)
        drawn, outcome, decision = drawn[:stop], verdict.outcome, verdict.decision
    assert outcome is not None
    return Evidence(
        sigma=params.sigma,
        alpha_split=params.alpha_split(len(NAMES)),
        selection=SELECTION,
        estimation=count(drawn, len(NAMES)),
        labels=drawn.tobytes(),
        outcome=outcome,
        decision=decision,
    )


def curve(made: Evidence, params: SmoothingParams) -> RadiusCurve:
    drawn = radius_curve(made, params, NAMES)
    assert drawn is not None
    return drawn


def claimed(made: Evidence) -> CurvePoint:
    outcome = made.outcome
    radius = outcome.radius if isinstance(outcome, Certificate) else None
    return CurvePoint(
        samples=made.estimation.total, p_a_lower=outcome.p_a_lower, p_b_upper=outcome.p_b_upper, radius=radius
    )


def published(value: float, decimals: int, rounding: str) -> float:
    return float(Decimal(value).quantize(Decimal(1).scaleb(-decimals), rounding))


def clopper_pearson(prefix: NDArray[np.uint16], params: SmoothingParams) -> CurvePoint:
    """The bounds of CERTIFY from the quantiles of the beta distribution, for a run of so many samples."""
    n, top = len(prefix), int((prefix == 1).sum())
    other = max(int((prefix == label).sum()) for label in (0, 2, 3))
    p_a = float(stats.beta.ppf((0.9 if params.bound == "two_class" else 1.0) * params.alpha, top, n - top + 1))
    p_b = 1 - p_a
    if params.bound == "two_class":
        p_b = min(p_b, float(stats.beta.isf(0.1 * params.alpha, other + 1, n - other)))
    low, high = published(p_a - 1e-6, 6, ROUND_FLOOR), published(p_b + 1e-6, 6, ROUND_CEILING)
    radius = params.sigma / 2 * float(stats.norm.ppf(low) - stats.norm.ppf(high))
    floored = published(radius, 4, ROUND_FLOOR)
    return CurvePoint(samples=n, p_a_lower=low, p_b_upper=high, radius=floored if floored > 0 else None)


@pytest.mark.parametrize("bound", ["two_class", "cohen"])
def test_each_point_is_what_a_run_of_so_many_samples_would_have_shown(bound: Bound) -> None:
    params = replace(PARAMS, bound=bound)
    drawn = labels(params.n)
    for point in curve(evidence(drawn, params), params).points:
        assert point == clopper_pearson(drawn[: point.samples], params)


def test_points_are_about_forty_from_few_samples_to_all() -> None:
    made = curve(evidence(labels(PARAMS.n), PARAMS), PARAMS)
    samples = [point.samples for point in made.points]
    assert (samples[0], samples[-1]) == (10, PARAMS.n)
    assert 35 <= len(samples) == len(set(samples)) <= 41
    assert max(b / a for a, b in pairwise(samples)) < 1.3
    assert (made.class_index, made.label, made.valid) == (1, "breast", "alone")
    assert "Each is valid alone, and not all of them at once" in made.note


@pytest.mark.parametrize("p", [0.9, 0.4], ids=["certified", "abstained"])
def test_last_point_is_the_certificate(p: float) -> None:
    made = evidence(labels(PARAMS.n, p), PARAMS)
    assert curve(made, PARAMS).points[-1] == claimed(made)


def test_last_point_is_the_certificate_where_n_is_the_smallest() -> None:
    params = replace(PARAMS, n0=20, n=20)
    made = evidence(labels(20), params)
    assert curve(made, params).points[-1] == claimed(made)


@pytest.mark.parametrize(
    ("target", "rule"), [(0.2, "e_process"), (0.32, "clopper_pearson"), (0.34, "futility"), (0.9, "curtailment")]
)
def test_with_a_target_the_points_are_those_of_the_confidence_sequences(target: float, rule: str) -> None:
    params = replace(PARAMS, target_radius=target)
    drawn = labels(params.n)
    made = evidence(drawn, params)
    assert made.decision.rule == rule
    shown = curve(made, params)
    assert shown.valid == "together"
    assert shown.points[-1] == claimed(made)
    test, radii = SequentialTest(params, SELECTION, look_every=64), {}
    for n in range(64, made.estimation.total, 64):
        test.look(count(drawn[:n], len(NAMES)))
        radii[n] = test.running_radius
    assert {point.samples: point.radius or 0.0 for point in shown.points[:-1]}.items() <= radii.items()
    assert len(shown.points) >= min(20, 1 + len(radii))


def test_without_a_selected_class_there_is_no_curve() -> None:
    made = evidence(labels(PARAMS.n), PARAMS)
    nobody = replace(made, selection=LabelCounts(per_class=(1, 2, 3), invalid=14))
    assert radius_curve(nobody, PARAMS, NAMES) is None


def test_no_point_holds_what_is_not_finite() -> None:
    made = curve(evidence(np.ones(PARAMS.n, dtype="<u2"), PARAMS), PARAMS)
    assert all(point.radius is None or math.isfinite(point.radius) for point in made.points)
    assert [point.radius for point in made.points][-1] == made.points[-1].radius
