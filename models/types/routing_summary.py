"""What the result of a job says about an automatic choice of sigma."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSummary:
    """The limit that one outcome of the selector sets on the radius.

    Attributes:
        sigma: Noise standard deviation of the route; None for `invalid`.
        sampled: Whether estimation samples of the route were drawn.
        p_a_lower: See `RouteBounds`.
        p_b_upper: See `RouteBounds`.
        radius: See `RouteBounds`.
        q_a_lower: See `RouteBounds`.
        q_b_upper: See `RouteBounds`.
        exclusion_radius: See `RouteBounds`.
    """

    sigma: float | None
    sampled: bool
    p_a_lower: float
    p_b_upper: float
    radius: float
    q_a_lower: float
    q_b_upper: float
    exclusion_radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSummary:
    """An automatic choice of sigma, without its samples.

    Attributes:
        route: Index of the selected route.
        selector_sigma: Noise standard deviation of the selector.
        outcomes: One for every route, and last one for `invalid`.
    """

    route: int
    selector_sigma: float
    outcomes: tuple[RouteSummary, ...]
