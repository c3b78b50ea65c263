"""Automatic sigma by certified selection: the radius of a classifier that chooses its sigma (docs/mathematics.md, 4).

The selector s is smoothed as a classifier is: shat(x) = argmax_b P(s(x + sigma_s eps) = b), and the routed classifier
answers h(x) = g_b(x) for b = shat(x), g_b smoothed with sigma_b. For any class c and route b*, with R_c(b) the radius
within which g_b answers c, and R_ex(b) that within which shat prefers b* to b, h = c within

    R = min over every outcome b of max(R_c(b), R_ex(b)).

At x + delta let b be the route: if |delta| < R_ex(b), it would not be b; else |delta| < R_c(b), so g_b answers c. The
minimum runs over every outcome: over routes that were never seen, and over `invalid`, which has no classifier, as well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from certrad.models.smoothing.bounds import (
    PROBABILITY_DECIMALS,
    confidence_bounds,
    floor_decimals,
    published,
    raise_decimals,
)
from certrad.models.smoothing.certify import Blocks, estimate, select
from certrad.models.smoothing.sampling import BaseClassifier, NoisySampler
from certrad.models.smoothing.selector import RouteSelector
from certrad.models.types import ETA, Abstention, AlphaSplit, Certificate, LabelCounts, Outcome, SmoothingParams
from certrad.models.types.routing import (
    RouteBounds,
    Routed,
    RouteSamples,
    RouteSelection,
    RoutingSplit,
    SigmaRouting,
    routing_split,
    selected_route,
)

_NOTHING: Final = Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)

OnProgress = Callable[[int, LabelCounts | None], None]
"""(estimation samples done by now, class counts of the route at hand, or None for the selector's)"""


def routed_radius(bounds: Iterable[RouteBounds]) -> float:
    """R = min over b of max(R_c(b), R_ex(b)) of every outcome of the selector, `invalid` included.

    R is too large only if, for the one outcome b0 that attains the true minimum, R_c(b0) or R_ex(b0) is: b0 is fixed
    before the samples, so no share of alpha is divided by the number of routes. R_ex(b0) rests on two bounds, of q(b*)
    and of q(b0), and each has its own share (docs/mathematics.md, 4.2). Which samples two bounds share does not matter.
    """
    return min(max(bound.radius, bound.exclusion_radius) for bound in bounds)


def select_route(
    sampler: NoisySampler,
    classifier_of: Callable[[int], BaseClassifier],
    params: SmoothingParams,
    routing: SigmaRouting,
    on_progress: Callable[[int], None] | None = None,
) -> RouteSelection:
    """The n0 selection samples of the selector, then those of the selected route's classifier.

    sampler: of the image; its sigma does not matter. classifier_of: route -> its classifier. on_progress: see `select`.
    """
    selector = RouteSelector.of(sampler, routing)
    selected = select(sampler.with_sigma(routing.selector_sigma), selector, params, on_progress)
    route = selected_route(selected)
    classes = select(sampler.with_sigma(routing.sigmas[route]), classifier_of(route), params, on_progress)
    return RouteSelection(selector=selected, classes=classes)


def estimate_routes(
    sampler: NoisySampler,
    classifier_of: Callable[[int], BaseClassifier],
    params: SmoothingParams,
    routing: SigmaRouting,
    selection: RouteSelection,
    blocks_of: Callable[[int | None], Blocks],
    commit_size: int | None = None,
    on_progress: OnProgress | None = None,
) -> Routed:
    """Draws n estimation samples of the selector, then n of every route that the radius depends on, and decides.

    Selector and routes may use the same noise at their own sigma: no bound assumes another's independent. The selected
    class and route must come from other noise, which the selection stream is.
    sampler, classifier_of: as in `select_route`.
    blocks_of: route -> where its labels are kept, None -> the selector's. commit_size: see `estimate`.
    on_progress: called after each batch that was computed; may raise to stop.
    """
    selector = RouteSelector.of(sampler, routing)
    routes: dict[int, RouteSamples] = {}

    def tell(route: int | None, counts: LabelCounts) -> None:
        if on_progress is not None:
            before = 0 if route is None else (1 + len(routes)) * params.n
            on_progress(before + counts.total, None if route is None else counts)

    def samples(route: int | None) -> RouteSamples:
        sigma = routing.selector_sigma if route is None else routing.sigmas[route]
        found = estimate(
            sampler.with_sigma(sigma),
            selector if route is None else classifier_of(route),
            params,
            selection.selector if route is None else selection.classes,
            blocks_of(route),
            commit_size,
            lambda counts, _: tell(route, counts),
        )
        return RouteSamples(labels=found.labels, counts=found.counts)

    split = routing_split(params, len(selection.classes.per_class))
    selected = samples(None)
    while True:
        counts = {route: drawn.counts for route, drawn in routes.items()}
        bounds = bound_routes(selection, selected.counts, counts, routing, split)
        route = next_route(selection.route, bounds, routes)
        if route is None:
            return Routed(
                routing=routing,
                split=split,
                selection=selection,
                selector=selected,
                routes=routes,
                bounds=bounds,
                outcome=decide_routed(selection, bounds),
            )
        routes[route] = samples(route)


def bound_routes(
    selection: RouteSelection,
    selector: LabelCounts,
    classes: Mapping[int, LabelCounts],
    routing: SigmaRouting,
    split: RoutingSplit,
) -> tuple[RouteBounds, ...]:
    """The bounds of every route, and last of `invalid`.

    selector: how often each route was selected among the estimation samples. classes: class counts of the estimation
    samples of the routes that were sampled, each of a size fixed before; about the others nothing is claimed.
    """
    b_star, c = selection.route, selection.class_index
    bounds = []
    for b, selected in enumerate((*selector.per_class, selector.invalid)):
        own: Outcome = _NOTHING
        excluded: Outcome = _NOTHING
        if c is not None and b in classes:
            top, runner_up = classes[b].per_class[c], classes[b].runner_up(c)
            own = _shown(c, top, runner_up, classes[b].total, split.classes, routing.sigmas[b])
        if b != b_star:
            top = selector.per_class[b_star]
            excluded = _shown(b_star, top, selected, selector.total, split.selector, routing.selector_sigma)
        bounds.append(
            RouteBounds(
                p_a_lower=own.p_a_lower,
                p_b_upper=own.p_b_upper,
                radius=_radius(own),
                q_a_lower=excluded.p_a_lower,
                q_b_upper=excluded.p_b_upper,
                exclusion_radius=_radius(excluded),
            )
        )
    return tuple(bounds)


def next_route(b_star: int, bounds: Sequence[RouteBounds], sampled: Iterable[int]) -> int | None:
    """The route to sample next: the selected one first, then the least excluded; None when no other can matter.

    A route left out counts with R_c = 0, which claims nothing, so that any rule may leave it out. This one leaves out
    only routes whose R_ex is not below what another outcome already limits the radius to: R is the same as if all had
    been sampled.
    """
    done = set(sampled)
    if b_star not in done:
        return b_star
    waiting = set(range(len(bounds) - 1)) - done
    limit = routed_radius([bound for b, bound in enumerate(bounds) if b not in waiting])
    least = min(waiting, key=lambda b: (bounds[b].exclusion_radius, b), default=None)
    return least if least is not None and bounds[least].exclusion_radius < limit else None


def decide_routed(selection: RouteSelection, bounds: Sequence[RouteBounds]) -> Outcome:
    """The class of the selection samples within the routed radius if that is > 0: wrong with probability <= alpha."""
    own, radius = bounds[selection.route], routed_radius(bounds)
    if radius > 0 and selection.class_index is not None:
        return Certificate(
            class_index=selection.class_index, radius=radius, p_a_lower=own.p_a_lower, p_b_upper=own.p_b_upper
        )
    return Abstention(reason="no_majority", p_a_lower=own.p_a_lower, p_b_upper=own.p_b_upper)


def _shown(index: int, top: int, runner_up: int, n: int, split: AlphaSplit, sigma: float) -> Outcome:
    """What the counts of two outcomes claim about the first, by the numbers rule: eta spent, then rounded."""
    p_a, p_b = confidence_bounds(top, runner_up, n, split)
    p_a_lower = max(0.0, floor_decimals(p_a - ETA, PROBABILITY_DECIMALS))
    p_b_upper = min(1.0, raise_decimals(p_b + ETA, PROBABILITY_DECIMALS))
    return published(index, p_a_lower, p_b_upper, sigma)


def _radius(outcome: Outcome) -> float:
    return outcome.radius if isinstance(outcome, Certificate) else 0.0
