"""Automatic sigma samples and publishes what its rule says, and its radius holds for every outcome."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream, count, estimate, labels
from certrad.models.smoothing.routing import (
    bound_routes,
    decide_routed,
    estimate_routes,
    next_route,
    routed_radius,
    select_route,
)
from certrad.models.smoothing.selector import RouteSelector
from certrad.models.types import Abstention, Bound, Certificate, LabelCounts, SamplingParams
from certrad.models.types.routing import RouteBounds, Routed, RouteSelection, SigmaRouting, routing_split
from tests.support.threshold_classifier import ThresholdClassifier

ROUTING = SigmaRouting(
    sigmas=(0.25, 0.5, 1.0),
    selector_sigma=1.0,
    grid=1,
    weights=((0.0,), (8.0,), (16.0,)),
    biases=(0.0, -4.0, -12.0),
)
PARAMS = SamplingParams(n0=20, n=200)
SPLIT = routing_split(PARAMS, 3)
CHOICE = RouteSelection(
    selector=LabelCounts(per_class=(0, 20, 0)),
    classes=LabelCounts(per_class=(20, 0, 0)),
)


def bounds_of(*pairs: tuple[float, float]) -> tuple[RouteBounds, ...]:
    """Bounds with these radii and exclusion radii."""
    unknown = {"p_a_lower": 0.0, "p_b_upper": 1.0, "q_a_lower": 0.0, "q_b_upper": 1.0}
    return tuple(RouteBounds(**unknown, radius=r, exclusion_radius=e) for r, e in pairs)


# -- the arithmetic --------------------------------------------------------------------------------------------------


def test_the_radius_is_the_smallest_of_what_holds_for_each_outcome() -> None:
    assert routed_radius(bounds_of((0.5, 0.0), (0.2, 0.9), (0.4, 0.1), (0.0, 0.8))) == 0.4


def test_alpha_is_spent_exactly_once() -> None:
    cases: tuple[tuple[int, Bound], ...] = ((2, "two_class"), (6, "two_class"), (6, "cohen"))
    for n_classes, bound in cases:
        split = routing_split(replace(PARAMS, bound=bound), n_classes)
        assert split.classes.p_a + split.classes.p_b + split.selector.p_a + split.selector.p_b == pytest.approx(0.001)
    for share in (SPLIT.classes, SPLIT.selector):
        assert (share.p_a, share.p_b) == pytest.approx((0.00045, 0.00005))


def test_a_target_radius_has_no_rule() -> None:
    with pytest.raises(ValueError, match="fixed n"):
        routing_split(replace(PARAMS, target_radius=0.5), 3)


def test_every_route_is_certified_for_the_one_selected_class() -> None:
    agrees, differs = LabelCounts(per_class=(200, 0, 0)), LabelCounts(per_class=(0, 200, 0))
    selector = LabelCounts(per_class=(100, 100, 0))
    bounds = bound_routes(CHOICE, selector, {0: differs, 1: agrees}, ROUTING, SPLIT)
    assert (bounds[0].radius, bounds[1].radius > 0) == (0.0, True)
    assert isinstance(decide_routed(CHOICE, bounds), Abstention)


def test_routes_not_sampled_and_invalid_claim_no_radius() -> None:
    counts = {1: LabelCounts(per_class=(200, 0, 0))}
    bounds = bound_routes(CHOICE, LabelCounts(per_class=(0, 200, 0)), counts, ROUTING, SPLIT)
    assert [bound.radius > 0 for bound in bounds] == [False, True, False, False]
    assert [bound.exclusion_radius > 0 for bound in bounds] == [True, False, True, True]


def test_an_invalid_outcome_of_the_selector_limits_the_radius() -> None:
    counts = {1: LabelCounts(per_class=(200, 0, 0))}
    clean = bound_routes(CHOICE, LabelCounts(per_class=(0, 190, 10)), counts, ROUTING, SPLIT)
    broken = bound_routes(CHOICE, LabelCounts(per_class=(0, 150, 0), invalid=50), counts, ROUTING, SPLIT)
    assert routed_radius(broken) == broken[-1].exclusion_radius < clean[-1].exclusion_radius


def test_eta_is_spent_in_every_bound_and_rounding_is_against_the_claim() -> None:
    """n = 10,000, all of one route and class: Clopper-Pearson's bound is alpha^(1/n), no other outcome is seen."""
    n = 10_000
    counts = {1: LabelCounts(per_class=(n, 0, 0))}
    bounds = bound_routes(CHOICE, LabelCounts(per_class=(0, n, 0)), counts, ROUTING, SPLIT)
    lower = 0.00045 ** (1 / n) - 1e-6
    for p_lower, p_upper in (
        (bounds[1].p_a_lower, bounds[1].p_b_upper),
        (bounds[0].q_a_lower, bounds[0].q_b_upper),
        (bounds[-1].q_a_lower, bounds[-1].q_b_upper),
    ):
        assert p_lower == np.floor(lower * 1e6) / 1e6
        assert p_upper == np.ceil((1 - 0.00045 ** (1 / n) + 1e-6) * 1e6) / 1e6
    assert (bounds[1].radius, bounds[0].exclusion_radius) == (1.5831, 3.1662)


def test_nothing_is_certified_where_the_selected_class_is_invalid() -> None:
    choice = replace(CHOICE, classes=LabelCounts(per_class=(0, 0, 0), invalid=20))
    counts = {1: LabelCounts(per_class=(200, 0, 0))}
    bounds = bound_routes(choice, LabelCounts(per_class=(0, 200, 0)), counts, ROUTING, SPLIT)
    outcome = decide_routed(choice, bounds)
    assert outcome == Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)


def test_leaving_routes_out_never_changes_the_radius() -> None:
    rng, left_out = np.random.default_rng(4), 0
    for _ in range(300):
        every = {
            b: LabelCounts(per_class=tuple(rng.multinomial(200, [p, 1 - p, 0]).tolist()))
            for b, p in enumerate(rng.choice([0.3, 0.7, 0.9, 0.99], 3))
        }
        selector = LabelCounts(per_class=tuple(rng.multinomial(200, rng.dirichlet([0.2, 2.0, 0.2])).tolist()))
        sampled: dict[int, LabelCounts] = {}
        bounds = bound_routes(CHOICE, selector, sampled, ROUTING, SPLIT)
        while (route := next_route(CHOICE.route, bounds, sampled)) is not None:
            sampled[route] = every[route]
            bounds = bound_routes(CHOICE, selector, sampled, ROUTING, SPLIT)
        left_out += len(every) - len(sampled)
        assert routed_radius(bounds) == routed_radius(bound_routes(CHOICE, selector, every, ROUTING, SPLIT))
    assert left_out > 100


def test_the_selected_route_is_sampled_first_an_excluded_one_never() -> None:
    nothing = bounds_of((0.0, 0.1), (0.0, 0.0), (0.0, 2.0), (0.0, 2.0))
    assert next_route(1, nothing, {}) == 1
    own = bounds_of((0.0, 0.1), (1.2, 0.0), (0.0, 2.0), (0.0, 2.0))
    assert next_route(1, own, {1}) == 0
    assert next_route(1, own, {0, 1}) is None


# -- the selector ----------------------------------------------------------------------------------------------------


def test_the_selector_sees_the_mean_of_each_rectangle() -> None:
    routing = replace(
        ROUTING, grid=2, weights=((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)), biases=(0.5, 0, 0)
    )
    pixels = torch.zeros(3, 3, 4, 6)
    pixels[1, :, :2, :3] = 0.75
    pixels[2, :2, 2:, 3:] = 1.5  # two of three channels
    selector = RouteSelector(routing, (3, 4, 6), torch.device("cpu"))
    assert selector.logits(pixels)[1:].tolist() == [[0.5, 0.75, 0.0], [0.5, 0.0, 1.0]]
    assert labels(selector.logits(pixels)).tolist() == [0, 1, 2]


def test_the_selector_refuses_a_grid_that_does_not_divide_the_image() -> None:
    with pytest.raises(ValueError, match="grid of 3"):
        RouteSelector(replace(ROUTING, grid=3, weights=((0.0,) * 9,) * 3), (3, 64, 64), torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": (0.5,)}, "2 to 8 values"),
        ({"sigmas": (0.5, 0.25, 1.0)}, "ascending"),
        ({"sigmas": (0.25, 0.5, 3.0)}, "in \\["),
        ({"selector_sigma": float("nan")}, "in \\["),
        ({"grid": 0}, "grid"),
        ({"biases": (0.0, 0.0)}, "with a bias"),
        ({"weights": ((0.0, 0.0),) * 3}, "weights"),
    ],
)
def test_a_malformed_routing_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ROUTING, **change)


# -- from the image to the outcome -----------------------------------------------------------------------------------

CLASSIFIERS = (
    ThresholdClassifier(cuts=(128,)),
    ThresholdClassifier(cuts=(140,)),
    ThresholdClassifier(cuts=(150,)),
)
CLASSIFIER_AT = dict(zip(ROUTING.sigmas, CLASSIFIERS, strict=True))
KEY = hashlib.sha256(b"routing").digest()


IMAGE = NoisySampler(
    image=CLASSIFIERS[0].image(0.1), sigma=1.0, noise=Noise(KEY), batch_size=64, device=torch.device("cpu")
)


def route(blocks: dict[int | None, MemoryBlocks]) -> Routed:
    return estimate_routes(
        IMAGE,
        CLASSIFIER_AT.__getitem__,
        PARAMS,
        ROUTING,
        select_route(IMAGE, CLASSIFIER_AT.__getitem__, PARAMS, ROUTING),
        lambda b: blocks.setdefault(b, MemoryBlocks()),
    )


def test_every_route_is_sampled_with_its_own_sigma_and_classifier() -> None:
    routed = route({})
    assert isinstance(routed.outcome, (Certificate, Abstention))
    assert routed.selection.route in routed.routes
    for b, drawn in routed.routes.items():
        alone = estimate(
            IMAGE.with_sigma(ROUTING.sigmas[b]),
            CLASSIFIERS[b],
            PARAMS.at(ROUTING.sigmas[b]),
            routed.selection.classes,
            MemoryBlocks(),
        )
        assert drawn.labels == alone.labels
    with_selector_noise = IMAGE.with_sigma(ROUTING.selector_sigma).batch(Stream.ESTIMATE, 0)
    first = RouteSelector(ROUTING, (3, 1, 1), torch.device("cpu")).logits(with_selector_noise)
    assert routed.selector.labels[:128] == labels(first).tobytes()


def test_a_second_engine_finishes_what_another_began() -> None:
    undisturbed: dict[int | None, MemoryBlocks] = {}
    whole = route(undisturbed)
    begun: dict[int | None, MemoryBlocks] = {}
    for b, blocks in undisturbed.items():
        begun[b] = MemoryBlocks()
        for start, block in list(blocks.committed().items())[::2]:
            begun[b].commit(start, block)
    assert route(begun) == whole


def test_the_radius_follows_from_the_counts_of_the_labels() -> None:
    routed = route({})
    classes = {b: count(np.frombuffer(drawn.labels, "<u2"), 2) for b, drawn in routed.routes.items()}
    selector = count(np.frombuffer(routed.selector.labels, "<u2"), 3)
    bounds = bound_routes(routed.selection, selector, classes, ROUTING, routing_split(PARAMS, 2))
    assert (bounds, decide_routed(routed.selection, bounds)) == (routed.bounds, routed.outcome)
