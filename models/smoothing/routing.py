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

from certrad.models.smoothing.blocks import Blocks
from certrad.models.smoothing.bounds import publish, published_bounds
from certrad.models.smoothing.certify import estimate, select
from certrad.models.smoothing.sampling import BaseClassifier, NoisySampler
from certrad.models.smoothing.selector import RouteSelector
from certrad.models.types import Abstention, AlphaSplit, Certificate, LabelCounts, Outcome, SamplingParams
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

_NOTHING_SHOWN: Final = Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)

ClassifierAt = Callable[[float], BaseClassifier]
"""The base classifier for noise of a sigma."""

OnProgress = Callable[[int, LabelCounts | None], None]
"""(estimation samples done by now, class counts of the route at hand, or None for the selector's)"""


def routed_radius(bounds: Iterable[RouteBounds]) -> float:
    """Returns R = min over b of max(R_c(b), R_ex(b)) of every outcome of the selector, `invalid` included.

    R is too large only if, for the one outcome b0 that attains the true minimum, R_c(b0) or R_ex(b0) is: b0 is fixed
    before the samples, so no share of alpha is divided by the number of routes. R_ex(b0) rests on two bounds, of q(b*)
    and of q(b0), and each has its own share (docs/mathematics.md, 4.2). Which samples two bounds share does not matter.

    Args:
        bounds: One for every outcome.
    """
    return min(max(bound.radius, bound.exclusion_radius) for bound in bounds)


def select_route(
    sampler: NoisySampler,
    classifier_at: ClassifierAt,
    params: SamplingParams,
    routing: SigmaRouting,
    on_progress: Callable[[int], None] | None = None,
) -> RouteSelection:
    """Draws the n0 selection samples of the selector, then those of the selected route's classifier.

    Args:
        sampler: Of the image; its sigma does not matter.
        classifier_at: The base classifier for noise of a sigma.
        params: n0 counts.
        routing: The noise levels and the selector.
        on_progress: See `select`.

    Returns:
        The counts of both.
    """
    selector = RouteSelector.of(sampler, routing)
    selected = select(sampler.with_sigma(routing.selector_sigma), selector, params, on_progress)
    # Any rule may choose the route and the class, as long as it does not see the estimation samples.
    route = selected_route(selected)
    sigma = routing.sigmas[route]
    classes = select(sampler.with_sigma(sigma), classifier_at(sigma), params, on_progress)
    return RouteSelection(selector=selected, classes=classes)


def estimate_routes(
    sampler: NoisySampler,
    classifier_at: ClassifierAt,
    params: SamplingParams,
    routing: SigmaRouting,
    selection: RouteSelection,
    blocks_of: Callable[[int | None], Blocks],
    block_size: int | None = None,
    on_progress: OnProgress | None = None,
) -> Routed:
    """Draws n estimation samples of the selector, then n of every route that the radius depends on, and decides.

    Selector and routes may use the same noise at their own sigma: no bound assumes another's independent. The selected
    class and route must come from other noise, which the selection stream is.

    Args:
        sampler: As in `select_route`.
        classifier_at: As in `select_route`.
        params: Numbers of samples and error probability, without a target radius.
        routing: The noise levels and the selector.
        selection: What `select_route` returned.
        blocks_of: Route -> where its labels are kept, None -> where the selector's are.
        block_size: See `estimate`.
        on_progress: Called after each batch that was computed; may raise to stop.

    Returns:
        The outcome, and all that it follows from.

    Raises:
        ValueError: `params` has a target radius.
    """
    selector = RouteSelector.of(sampler, routing)
    routes: dict[int, RouteSamples] = {}

    def tell(route: int | None, counts: LabelCounts) -> None:
        if on_progress is not None:
            before = 0 if route is None else (1 + len(routes)) * params.n
            on_progress(before + counts.total, None if route is None else counts)

    def samples(route: int | None) -> RouteSamples:
        sigma = routing.selector_sigma if route is None else routing.sigmas[route]
        drawn = estimate(
            sampler.with_sigma(sigma),
            selector if route is None else classifier_at(sigma),
            params.at(sigma),
            selection.selector if route is None else selection.classes,
            blocks_of(route),
            block_size,
            lambda counts, _: tell(route, counts),
        )
        return RouteSamples(labels=drawn.labels, counts=drawn.counts)

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
    """Returns the bounds on every route, and last those on `invalid`.

    Args:
        selection: The selected route and its class.
        selector: How often each route was selected among the estimation samples.
        classes: Route -> class counts of its estimation samples, for the routes that were sampled, each of a size that
            was fixed before; about the others nothing is claimed.
        routing: The noise levels and the selector.
        split: The shares of alpha.
    """
    # b* and c come from the selection samples, so they are fixed before the estimation samples are drawn.
    b_star, c = selection.route, selection.class_index
    bounds = []
    for b, selected in enumerate((*selector.per_class, selector.invalid)):
        own: Outcome = _NOTHING_SHOWN
        excluded: Outcome = _NOTHING_SHOWN
        # R_c(b): within it g_b answers c. A route without samples, and `invalid`, claim nothing: R_c(b) = 0.
        if c is not None and b in classes:
            top, runner_up = classes[b].per_class[c], classes[b].runner_up(c)
            own = _claim(c, top, runner_up, classes[b].total, split.classes, routing.sigmas[b])
        # R_ex(b): within it the selector prefers b* to b. b* itself cannot be excluded: R_ex(b*) = 0.
        if b != b_star:
            top = selector.per_class[b_star]
            excluded = _claim(b_star, top, selected, selector.total, split.selector, routing.selector_sigma)
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
    """Returns the route to sample next: the selected one first, then the least excluded; None when no other matters.

    A route left out counts with R_c = 0, which claims nothing, so that any rule may leave it out. This one leaves out
    only routes whose R_ex is not below what another outcome already limits the radius to: R is the same as if all had
    been sampled.

    Args:
        b_star: The selected route.
        bounds: One for every outcome.
        sampled: The routes that were sampled.
    """
    done = set(sampled)
    if b_star not in done:
        return b_star
    waiting = set(range(len(bounds) - 1)) - done
    limit = routed_radius([bound for b, bound in enumerate(bounds) if b not in waiting])
    least = min(waiting, key=lambda b: (bounds[b].exclusion_radius, b), default=None)
    return least if least is not None and bounds[least].exclusion_radius < limit else None


def decide_routed(selection: RouteSelection, bounds: Sequence[RouteBounds]) -> Outcome:
    """Returns the class of the selection samples within the routed radius if that is > 0, else an abstention.

    Wrong with probability at most alpha over the noise.

    Args:
        selection: The selected route and its class.
        bounds: One for every outcome.
    """
    # At x + delta let b be the outcome of the selector. |delta| < R <= max(R_ex(b), R_c(b)), so b is excluded, or its
    # classifier answers c. So h answers c within R, and R > 0 certifies it.
    own, radius = bounds[selection.route], routed_radius(bounds)
    if radius > 0 and selection.class_index is not None:
        return Certificate(
            class_index=selection.class_index, radius=radius, p_a_lower=own.p_a_lower, p_b_upper=own.p_b_upper
        )
    return Abstention(reason="no_majority", p_a_lower=own.p_a_lower, p_b_upper=own.p_b_upper)


def _claim(index: int, top: int, runner_up: int, n: int, split: AlphaSplit, sigma: float) -> Outcome:
    """Returns what the counts of two outcomes claim about the first."""
    return publish(index, *published_bounds(top, runner_up, n, split), sigma)


def _radius(outcome: Outcome) -> float:
    return outcome.radius if isinstance(outcome, Certificate) else 0.0
