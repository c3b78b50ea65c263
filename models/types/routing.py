"""Automatic sigma: a route for each noise standard deviation, and the selector that sends an image down one of them."""

from dataclasses import dataclass

from certrad.models.types.smoothing import (
    RUNNER_UP_SHARE,
    SIGMA_RANGE,
    AlphaSplit,
    LabelCounts,
    Outcome,
    SmoothingParams,
)

ROUTES_RANGE = (2, 8)
GRID_RANGE = (1, 16)
CLASS_SHARE = 0.5
"""Share of alpha spent on the class probabilities of the routes; the rest bounds the selector's probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRouting:
    """The noise standard deviations to choose from, and a linear selector on a thumbnail of one noisy sample.

    sigmas: one route each, ascending; the classifier of a route is smoothed with its sigma.
    selector_sigma: that the selector is smoothed with. A route can be excluded within about 3 selector_sigma at most,
        so it is best no smaller than the largest sigma.
    grid: side of the thumbnail, the mean over channels and over grid x grid equal rectangles.
    weights, biases: (B, grid * grid) and (B,): a sample goes to the route with the largest weights . thumbnail + bias.
        They decide how large radii get, never whether they are true.
    """

    sigmas: tuple[float, ...]
    selector_sigma: float
    grid: int
    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]

    def __post_init__(self) -> None:
        low, high = SIGMA_RANGE
        if not ROUTES_RANGE[0] <= len(self.sigmas) <= ROUTES_RANGE[1]:
            raise ValueError(f"{ROUTES_RANGE[0]}..{ROUTES_RANGE[1]} sigmas are required, got {len(self.sigmas)}")
        if not all(low <= sigma <= high for sigma in (*self.sigmas, self.selector_sigma)):  # also refuses NaN
            raise ValueError(f"sigmas must be in [{low}, {high}], got {self.sigmas!r} and {self.selector_sigma!r}")
        if any(a >= b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False)):
            raise ValueError(f"sigmas must be ascending, got {self.sigmas!r}")
        if not GRID_RANGE[0] <= self.grid <= GRID_RANGE[1]:
            raise ValueError(f"grid must be in {GRID_RANGE[0]}..{GRID_RANGE[1]}, got {self.grid!r}")
        shapes = [len(row) for row in self.weights], len(self.biases)
        if shapes != ([self.grid**2] * len(self.sigmas), len(self.sigmas)):
            raise ValueError(
                f"{len(self.sigmas)} rows of {self.grid**2} weights and a bias each are required, got {shapes}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSplit:
    """The shares of alpha, together alpha: a union bound over these bounds needs no more, see `routed_radius`.

    classes: p_a and p_b, of the class bounds of one route. selector: p_a, of the lower bound of the selected route's
    probability, and p_b, of the upper bound of one other outcome's.
    """

    classes: AlphaSplit
    selector: AlphaSplit


def routing_split(params: SmoothingParams, n_classes: int) -> RoutingSplit:
    """How automatic sigma spends alpha; raises ValueError with a target radius, for which it has no rule."""
    if params.target_radius is not None:
        raise ValueError(f"routing needs a fixed n, got target_radius={params.target_radius!r}")
    plain, rest = params.alpha_split(n_classes), (1 - CLASS_SHARE) * params.alpha
    return RoutingSplit(
        classes=AlphaSplit(p_a=CLASS_SHARE * plain.p_a, p_b=CLASS_SHARE * plain.p_b),
        selector=AlphaSplit(p_a=(1 - RUNNER_UP_SHARE) * rest, p_b=RUNNER_UP_SHARE * rest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSelection:
    """What the selection samples chose before the first estimation sample.

    selector: how often each route was selected. classes: the classes of the selected route's classifier.
    """

    selector: LabelCounts
    classes: LabelCounts

    @property
    def route(self) -> int:
        """b*, the route selected most often, the lowest index among ties."""
        return selected_route(self.selector)

    @property
    def class_index(self) -> int | None:
        """c, the one class that is to be certified for every route; None if `invalid` is on top."""
        return self.classes.top


def selected_route(selector: LabelCounts) -> int:
    """The route selected most often, the lowest index among ties; whatever is chosen here, the radius holds."""
    return selector.per_class.index(max(selector.per_class))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBounds:
    """What is shown about one outcome b of the selector, in published numbers.

    p_a_lower, p_b_upper: of class c under the route's classifier; 0 and 1 where it was not sampled.
    radius: R_c(b), within which this classifier answers c; 0 where that is not shown.
    q_a_lower, q_b_upper: of the probabilities that the selected route and that b is selected; for the selected route
        itself 0 and 1.
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

    labels: of samples 0..n - 1 in order, little-endian uint16, the number of outcomes for `invalid`.
    """

    labels: bytes
    counts: LabelCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What automatic sigma certifies, and all that it follows from.

    split: the shares of alpha that were spent.
    selector: the selector's estimation samples. routes: those of the routes that were sampled, by index.
    bounds: of every route, and last of `invalid`.
    outcome: with the p_a_lower and p_b_upper of the selected route; its radius is the `routed_radius` of the bounds.
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
        """That of the selected route."""
        return self.routing.sigmas[self.selection.route]

    @property
    def selected(self) -> RouteSamples:
        """The estimation samples of the selected route."""
        return self.routes[self.selection.route]
