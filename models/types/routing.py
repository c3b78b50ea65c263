"""Automatic sigma: a route for each noise standard deviation, and the selector that sends an image down one of them."""

from dataclasses import dataclass
from typing import Final

from certrad.models.types.smoothing import (
    RUNNER_UP_SHARE,
    SIGMA_RANGE,
    AlphaSplit,
    LabelCounts,
    Outcome,
    SamplingParams,
)

ROUTES_RANGE: Final = (2, 8)
GRID_RANGE: Final = (1, 16)
CLASS_SHARE: Final = 0.5
"""Share of alpha spent on the class probabilities of the routes; the rest bounds the selector's probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRouting:
    """The noise levels to choose from, and a linear selector on a thumbnail of one noisy sample.

    Weights and biases decide how large radii get, never whether they are true.

    Attributes:
        sigmas: Noise standard deviations in pixels of [0, 1], 2 to 8 of them, ascending. Each is a route, whose
            classifier is smoothed with it.
        selector_sigma: Noise standard deviation that the selector is smoothed with. A route can be excluded within
            about 3 selector_sigma at most, so it is best no smaller than the largest sigma.
        grid: Side of the thumbnail, in [1, 16]: means over channels and over grid x grid equal rectangles.
        weights: (B, grid * grid). A sample goes to the route with the largest weights . thumbnail + bias.
        biases: (B,).
    """

    sigmas: tuple[float, ...]
    selector_sigma: float
    grid: int
    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]

    def __post_init__(self) -> None:
        low, high = SIGMA_RANGE
        if not ROUTES_RANGE[0] <= len(self.sigmas) <= ROUTES_RANGE[1]:
            raise ValueError(f"sigmas must be {ROUTES_RANGE[0]} to {ROUTES_RANGE[1]} values, got {len(self.sigmas)}")
        if not all(low <= sigma <= high for sigma in (*self.sigmas, self.selector_sigma)):  # also refuses NaN
            raise ValueError(f"sigmas must be in [{low}, {high}], got {self.sigmas!r} and {self.selector_sigma!r}")
        if any(a >= b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False)):
            raise ValueError(f"sigmas must be ascending, got {self.sigmas!r}")
        if not GRID_RANGE[0] <= self.grid <= GRID_RANGE[1]:
            raise ValueError(f"grid must be in {GRID_RANGE[0]}..{GRID_RANGE[1]}, got {self.grid!r}")
        shapes = [len(row) for row in self.weights], len(self.biases)
        if shapes != ([self.grid**2] * len(self.sigmas), len(self.sigmas)):
            raise ValueError(
                f"weights must be {len(self.sigmas)} rows of {self.grid**2}, each with a bias; got the shapes {shapes}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSplit:
    """The shares of alpha, together alpha: a union bound over these bounds needs no more, see `routed_radius`.

    Attributes:
        classes: Shares of the class bounds of one route.
        selector: p_a is spent on the lower bound of the selected route's probability, p_b on the upper bound of one
            other outcome's.
    """

    classes: AlphaSplit
    selector: AlphaSplit


def routing_split(params: SamplingParams, n_classes: int) -> RoutingSplit:
    """Returns the shares of alpha of automatic sigma.

    Args:
        params: The error probability and the bound.
        n_classes: The number K of classes.

    Raises:
        ValueError: `params` has a target radius, for which automatic sigma has no rule.
    """
    if params.target_radius is not None:
        raise ValueError(f"routing needs a fixed n, got target_radius={params.target_radius!r}")
    plain, rest = params.alpha_split(n_classes), (1 - CLASS_SHARE) * params.alpha
    return RoutingSplit(
        classes=AlphaSplit(p_a=CLASS_SHARE * plain.p_a, p_b=CLASS_SHARE * plain.p_b),
        selector=AlphaSplit(p_a=(1 - RUNNER_UP_SHARE) * rest, p_b=RUNNER_UP_SHARE * rest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The selection samples at one noise level: they choose the class before the first estimation sample.

    Attributes:
        classes: How often each class was predicted.
    """

    classes: LabelCounts

    @property
    def runs(self) -> tuple[LabelCounts, ...]:
        """Returns the counts of every run of n0 samples."""
        return (self.classes,)

    @property
    def class_index(self) -> int | None:
        """Returns c, the one class that is to be certified; None if `invalid` is on top."""
        return self.classes.top


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSelection(Selection):
    """The selection samples of an automatic choice of sigma: they choose a route, and the class of its classifier.

    Attributes:
        selector: How often each route was selected.
    """

    selector: LabelCounts

    @property
    def runs(self) -> tuple[LabelCounts, ...]:
        """Returns the counts of every run of n0 samples: the selector's, then the class's."""
        return self.selector, self.classes

    @property
    def route(self) -> int:
        """Returns b*, the route selected most often, the lowest index among ties."""
        return selected_route(self.selector)


def selected_route(selector: LabelCounts) -> int:
    """Returns the route selected most often, the lowest index among ties; whatever is chosen, the radius holds.

    Args:
        selector: How often each route was selected.
    """
    return selector.per_class.index(max(selector.per_class))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBounds:
    """The bounds on one outcome b of the selector, in published numbers.

    Attributes:
        p_a_lower: Lower bound of class c's probability under the route's classifier; 0 where it was not sampled.
        p_b_upper: Upper bound of every other class's probability; 1 where it was not sampled.
        radius: R_c(b), within which this classifier answers c; 0 where that is not shown.
        q_a_lower: Lower bound of the probability that the selected route is selected; 0 for that route itself.
        q_b_upper: Upper bound of the probability that b is selected; 1 for the selected route itself.
        exclusion_radius: R_ex(b), within which b is not selected; 0 where that is not shown.
    """

    p_a_lower: float
    p_b_upper: float
    radius: float
    q_a_lower: float
    q_b_upper: float
    exclusion_radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSamples:
    """The estimation samples of the selector or of one route.

    Attributes:
        labels: Labels of samples 0..n - 1 in order, little-endian uint16; `invalid` is the number of outcomes.
        counts: How often each label occurs.
    """

    labels: bytes
    counts: LabelCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The outcome of automatic sigma, and all that it follows from.

    Attributes:
        routing: The noise levels and the selector.
        split: The shares of alpha that were spent.
        selection: The selection samples of the selector and of the class.
        selector: The selector's estimation samples.
        routes: The estimation samples of the routes that were sampled, by index.
        bounds: The bounds on every route, and last those on `invalid`.
        outcome: Has the p_a_lower and p_b_upper of the selected route; its radius is the `routed_radius` of the bounds.
    """

    routing: SigmaRouting
    split: RoutingSplit
    selection: RouteSelection
    selector: RouteSamples
    routes: dict[int, RouteSamples]
    bounds: tuple[RouteBounds, ...]
    outcome: Outcome

    @property
    def sigma(self) -> float:
        """Returns the noise level of the selected route."""
        return self.routing.sigmas[self.selection.route]

    @property
    def selected(self) -> RouteSamples:
        """Returns the estimation samples of the selected route."""
        return self.routes[self.selection.route]
