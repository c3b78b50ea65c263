"""The routed radius keeps to exact truths, and wrong versions of it that look right are caught."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper, radius
from certrad.models.smoothing.routing import bound_routes, decide_routed, routed_radius
from certrad.models.types import AlphaSplit, Certificate, LabelCounts, SamplingParams
from certrad.models.types.routing import RouteBounds, RouteSelection, RoutingSplit, SigmaRouting, routing_split
from tests.support.routed_line import OFFSETS, Floats, Pieces, RoutedLine

FALSE_ALARM = 1e-6
ALPHA = 0.2
SPLIT = RoutingSplit(classes=AlphaSplit(p_a=0.09, p_b=0.01), selector=AlphaSplit(p_a=0.09, p_b=0.01))
TRIALS = 500
HERE = np.zeros(1)

ALWAYS = (Pieces(cuts=(), values=(0,)), Pieces(cuts=(), values=(1,)))
NEAR = RoutedLine(selector=Pieces(cuts=(0.3,), values=(0, 1)), selector_sigma=1.0, routes=ALWAYS, sigmas=(0.5, 1.0))
NEARER = replace(NEAR, selector=Pieces(cuts=(0.02,), values=(0, 1)))
RARE = replace(NEAR, selector=Pieces(cuts=(2.0,), values=(0, 1)), selector_sigma=0.5, sigmas=(1.0, 1.5))
INVALID = replace(NEAR, selector=Pieces(cuts=(0.3,), values=(0, 2)))
SIZES = {NEAR: 1000, NEARER: 1000, RARE: 10_000, INVALID: 1000}


def counts_of(draw: NDArray[np.int64]) -> LabelCounts:
    *per_class, invalid = draw.tolist()
    return LabelCounts(per_class=tuple(per_class), invalid=invalid)


def routing_of(line: RoutedLine) -> SigmaRouting:
    n = len(line.sigmas)
    return SigmaRouting(
        sigmas=line.sigmas, selector_sigma=line.selector_sigma, grid=1, weights=((0.0,),) * n, biases=(0.0,) * n
    )


def chosen(line: RoutedLine, route: int, class_index: int) -> RouteSelection:
    def one_hot(size: int, index: int) -> LabelCounts:
        return LabelCounts(per_class=tuple(int(index == other) for other in range(size)))

    return RouteSelection(selector=one_hot(len(line.routes), route), classes=one_hot(line.n_classes, class_index))


Rule = Callable[[RoutedLine, RouteSelection, LabelCounts, dict[int, LabelCounts]], float]
"""(the classifier, the choice, selector counts, class counts of every route) -> the claimed radius."""


def as_shipped(
    line: RoutedLine, choice: RouteSelection, selector: LabelCounts, classes: dict[int, LabelCounts]
) -> float:
    outcome = decide_routed(choice, bound_routes(choice, selector, classes, routing_of(line), SPLIT))
    return outcome.radius if isinstance(outcome, Certificate) else 0.0


def own_class_of_each_route(
    line: RoutedLine, choice: RouteSelection, selector: LabelCounts, classes: dict[int, LabelCounts]
) -> float:
    bounds = list(bound_routes(choice, selector, classes, routing_of(line), SPLIT))
    for b, counts in classes.items():
        own = chosen(line, choice.route, counts.top or 0)
        bounds[b] = bound_routes(own, selector, classes, routing_of(line), SPLIT)[b]
    return routed_radius(bounds)


def default_route_where_not_sure(
    line: RoutedLine, choice: RouteSelection, selector: LabelCounts, classes: dict[int, LabelCounts]
) -> float:
    bounds = bound_routes(choice, selector, classes, routing_of(line), SPLIT)
    sure = all(bound.exclusion_radius > 0 for b, bound in enumerate(bounds) if b != choice.route)
    return routed_radius(bounds) if sure else bounds[0].radius


def without_outcomes_never_seen(
    line: RoutedLine, choice: RouteSelection, selector: LabelCounts, classes: dict[int, LabelCounts]
) -> float:
    bounds = bound_routes(choice, selector, classes, routing_of(line), SPLIT)
    seen = (*selector.per_class, selector.invalid)
    return routed_radius(bound for bound, count in zip(bounds, seen, strict=True) if count)


def without_invalid(
    line: RoutedLine, choice: RouteSelection, selector: LabelCounts, classes: dict[int, LabelCounts]
) -> float:
    return routed_radius(bound_routes(choice, selector, classes, routing_of(line), SPLIT)[:-1])


def false_claims(rule: Rule, line: RoutedLine, trials: int = TRIALS) -> int:
    """Returns how many of the trials claim a radius within which the routed classifier does not answer the class."""
    rng = np.random.default_rng(36)
    n, distance = SIZES[line], line.distance(0)
    q, p = line.selector_probabilities(HERE)[0], [line.class_probabilities(b, HERE)[0] for b in range(len(line.routes))]
    choice = chosen(line, 0, 0)
    claims = (
        rule(
            line,
            choice,
            counts_of(rng.multinomial(n, q)),
            {b: counts_of(rng.multinomial(n, p_b)) for b, p_b in enumerate(p)},
        )
        for _ in range(trials)
    )
    return sum(claim > distance for claim in claims)


PLANTED = [
    (own_class_of_each_route, NEAR, 1.0),
    (default_route_where_not_sure, NEARER, 0.8),
    (without_outcomes_never_seen, RARE, 0.4),
    (without_invalid, INVALID, 1.0),
]


@pytest.mark.parametrize("line", [NEAR, NEARER, RARE, INVALID], ids=["near", "nearer", "rare", "invalid"])
def test_the_shipped_rule_errs_at_most_alpha(line: RoutedLine) -> None:
    assert false_claims(as_shipped, line) <= stats.binom.ppf(1 - FALSE_ALARM, TRIALS, ALPHA)


@pytest.mark.parametrize(("planted", "line", "at_least"), PLANTED)
def test_a_planted_wrong_rule_is_caught(planted: Rule, line: RoutedLine, at_least: float) -> None:
    found = false_claims(planted, line)
    assert found > stats.binom.ppf(1 - FALSE_ALARM, TRIALS, ALPHA)
    assert found >= at_least * TRIALS


def test_the_shipped_rule_errs_at_most_alpha_on_random_classifiers() -> None:
    """Over routes, classes, sigmas and sample sizes; the choice of b* and c is wrong in one of ten."""
    rng, wrong, trials = np.random.default_rng(6), 0, 1000
    for _ in range(trials):
        line = random_line(rng)
        q = line.selector_probabilities(HERE)[0]
        p = [line.class_probabilities(b, HERE)[0] for b in range(len(line.routes))]
        choice = random_choice(rng, line, q, p)
        n = int(rng.choice([20, 100, 1000]))
        selector = counts_of(rng.multinomial(n, q))
        classes = {b: counts_of(rng.multinomial(n, p_b)) for b, p_b in enumerate(p)}
        wrong += as_shipped(line, choice, selector, classes) > line.distance(choice.class_index or 0)
    assert 0 < wrong <= stats.binom.ppf(1 - FALSE_ALARM, trials, ALPHA)


def random_line(rng: np.random.Generator) -> RoutedLine:
    n_routes, n_classes = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    sigmas = tuple(np.sort(rng.uniform(0.2, 1.5, n_routes)).tolist())
    return RoutedLine(
        selector=random_pieces(rng, n_routes),
        selector_sigma=float(rng.uniform(0.2, 1.5)),
        routes=tuple(random_pieces(rng, n_classes) for _ in sigmas),
        sigmas=sigmas,
        n_classes=n_classes,
    )


def random_pieces(rng: np.random.Generator, n_values: int) -> Pieces:
    """`n_values` itself, `invalid`, is rarer than the others."""
    n_cuts = int(rng.integers(0, 5))
    share = np.array([*[1.0] * n_values, 0.2])
    values = rng.choice(n_values + 1, n_cuts + 1, p=share / share.sum())
    return Pieces(cuts=tuple(np.sort(rng.normal(0, 1.5, n_cuts)).tolist()), values=tuple(values.tolist()))


def random_choice(rng: np.random.Generator, line: RoutedLine, q: Floats, p: list[Floats]) -> RouteSelection:
    if rng.random() < 0.1:
        return chosen(line, int(rng.integers(len(line.routes))), int(rng.integers(line.n_classes)))
    route = int(q[:-1].argmax())
    return chosen(line, route, int(p[route][:-1].argmax()))


def test_the_exact_radius_is_never_above_the_distance_to_another_answer() -> None:
    """The theorem itself, for any b* and c; and it is tight."""
    rng, ratios = np.random.default_rng(3), []
    for _ in range(3000):
        line = random_line(rng)
        q = line.selector_probabilities(HERE)[0]
        p = [line.class_probabilities(b, HERE)[0] for b in range(len(line.routes))]
        choice = random_choice(rng, line, q, p)
        b_star, c = choice.route, choice.class_index or 0
        bounds = [
            exact_bounds(
                margin(p[b], c, line.sigmas[b]) if b < len(p) else 0.0,
                0.0 if b == b_star else line.selector_sigma * (z(q[b_star]) - z(q[b])) / 2,
            )
            for b in range(len(q))
        ]
        claimed, distance = routed_radius(bounds), line.distance(c)
        assert claimed <= distance + 1e-9
        if claimed > 0 and distance < OFFSETS[-1]:
            ratios.append(claimed / distance)
    assert len(ratios) >= 500
    assert max(ratios) > 0.99


def z(p: float) -> float:
    return float(special.ndtri(min(max(p, 1e-12), 1 - 1e-12)))


def margin(p: Floats, c: int, sigma: float) -> float:
    return sigma * (z(p[c]) - z(float(np.delete(p, c).max()))) / 2


def exact_bounds(classified: float, excluded: float) -> RouteBounds:
    return RouteBounds(
        p_a_lower=0.0,
        p_b_upper=1.0,
        radius=max(0.0, classified),
        q_a_lower=0.0,
        q_b_upper=1.0,
        exclusion_radius=max(0.0, excluded),
    )


def test_a_route_never_seen_limits_the_radius() -> None:
    """Route 2 where z > 2, with a wrong classifier, never seen in 10,000 samples: true 2.0, dropping it claims 3.1986.

    The 1.565 of docs/mathematics.md, 4.2, is without the cap q_b <= 1 - q_b*, which the shipped bound has and gains by.
    """
    n, params = 10_000, SamplingParams(alpha=0.001, n=10_000)
    lower = clopper_pearson_lower(n, n, params.alpha)
    assert radius(lower, 1 - lower, 1.0) == pytest.approx(3.1986, abs=5e-5)
    split = routing_split(params, 3)
    lower, upper = clopper_pearson_lower(n, n, split.selector.p_a), clopper_pearson_upper(0, n, split.selector.p_b)
    uncapped = radius(lower, upper, RARE.selector_sigma)
    assert uncapped == pytest.approx(1.565, abs=5e-4)
    choice, sure = chosen(RARE, 0, 0), LabelCounts(per_class=(n, 0))
    bounds = bound_routes(choice, sure, {0: sure, 1: LabelCounts(per_class=(0, n))}, routing_of(RARE), split)
    assert bounds[0].radius > RARE.distance(0) == pytest.approx(2.0, abs=0.02)
    assert uncapped < routed_radius(bounds) < RARE.distance(0)
