"""Noise on the centre that is relative to the width of the window: exact bounds by Neyman and Pearson.

Then a change of the width changes the standard deviation of the centre's noise too, and the ellipse of
`certrad.models.smoothing.parameters` does not hold. The same bounds cover a drift of gain and offset of the stored
values under an unchanged header (docs/mathematics.md, 10.4).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

_NODES: Final = 6_501
_END: Final = 13.0  # standard deviations of the centre's noise
_INTEGRATION: Final = 1e-9
"""What is taken off each bound: the trapezoid rule agrees with adaptive quadrature to 1.1e-13."""
_SMALLEST_SHIFT: Final = 1e-3
_LOG_END: Final = 2_000.0
_GRID_STEP: Final = 1e-3  # of the logarithm of the factor

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeChange:
    """A change of the window as noise sees it: from N(0, 1) x N(0, 1) to N(width, 1) x N(centre, factor^2).

    The first normal is the noise on the logarithm of the width, the second that on the centre, both in standard
    deviations before the change.

    Attributes:
        width: Shift of the logarithm of the width, not negative: |kappa| / s_w.
        centre: Shift of the centre, not negative: |b| / s_C.
        factor: Standard deviation of the centre's noise after the change, above 0: e^kappa.
    """

    width: float
    centre: float
    factor: float

    def __post_init__(self) -> None:
        if not (self.width >= 0 and self.centre >= 0 and self.factor > 0):
            raise ValueError(f"shifts must not be negative and the factor must be above 0, got {self!r}")

    @staticmethod
    def of(kappa: float, centre: float, ln_width_sigma: float) -> "RelativeChange":
        """Returns the change of the width by e^kappa, with a change of the centre.

        Args:
            kappa: Change of the logarithm of the width; of the gain of the values it is -kappa.
            centre: Change of the centre, in standard deviations of its noise; its sign does not matter.
            ln_width_sigma: Standard deviation of the noise on the logarithm of the width.
        """
        return RelativeChange(width=abs(kappa) / ln_width_sigma, centre=abs(centre), factor=math.exp(kappa))


def lower_bound(p: float, change: RelativeChange, ln_t: float) -> float:
    """Returns a lower bound of the probability after the change of a set that has at least probability p before it.

    The bound is e^t p - (e^t P0(L < t) - P1(L < t)), L the logarithm of the likelihood ratio. It holds for every
    `ln_t`, so that a reader who is given one needs a single integral and no root.

    Args:
        p: Probability before the change, in [0, 1].
        change: The change.
        ln_t: Threshold of L.
    """
    before, after = _probabilities(change, ln_t)
    return math.exp(ln_t) * (p - before) + after - _INTEGRATION * (1 + math.exp(ln_t))


def best_ln_t(p: float, change: RelativeChange) -> float:
    """Returns the threshold whose `lower_bound` is the largest: it cuts off probability p before the change.

    Args:
        p: Probability before the change, in (0, 1).
        change: The change.
    """
    return float(optimize.brentq(lambda ln_t: _probabilities(change, ln_t)[0] - p, -_LOG_END, _LOG_END, xtol=1e-10))


def margin(p_a_lower: float, p_b_upper: float, change: RelativeChange) -> float:
    """Returns by how much the class leads every other outcome after the change, at least; it holds if positive.

    Args:
        p_a_lower: Lower bound of the class's probability, in (0, 1).
        p_b_upper: Upper bound of every other outcome's, in (0, 1).
        change: The change.
    """
    rest = 1 - p_b_upper
    lower = lower_bound(p_a_lower, change, best_ln_t(p_a_lower, change))
    return lower - (1 - lower_bound(rest, change, best_ln_t(rest, change)))


def largest_centre(p_a_lower: float, p_b_upper: float, kappa: float, ln_width_sigma: float) -> float:
    """Returns the largest change of the centre that is covered together with one factor of the width.

    In standard deviations of the centre's noise, strictly below; 0 where none is. The margin falls in the change of
    the centre.

    Args:
        p_a_lower: See `margin`.
        p_b_upper: See `margin`.
        kappa: Change of the logarithm of the width.
        ln_width_sigma: Standard deviation of the noise on the logarithm of the width.
    """

    def at(centre: float) -> float:
        return margin(p_a_lower, p_b_upper, RelativeChange.of(kappa, centre, ln_width_sigma))

    if not at(0.0) > 0:
        return 0.0
    end = 8.0  # published bounds reach 4.76 standard deviations at most
    return float(optimize.brentq(at, 0.0, end, xtol=1e-6)) - 1e-6


def covers(p_a_lower: float, p_b_upper: float, kappa_max: float, centre: float, ln_width_sigma: float) -> bool:
    """Returns whether the class holds for every factor from e^-kappa_max to e^kappa_max with that change of the centre.

    The factors are tried on a grid; between two of its points the probabilities of both classes move by no more than
    the total variation of their noise.

    Args:
        p_a_lower: See `margin`.
        p_b_upper: See `margin`.
        kappa_max: Largest change of the logarithm of the width, both ways.
        centre: Largest change of the centre, both ways, in standard deviations of its noise.
        ln_width_sigma: Standard deviation of the noise on the logarithm of the width.
    """
    steps = max(1, math.ceil(kappa_max / _GRID_STEP))
    step = kappa_max / steps
    slack = step * (0.40 / ln_width_sigma + 0.49)  # of both classes, half a step from the grid: mathematics, 10.4
    return all(
        margin(p_a_lower, p_b_upper, RelativeChange.of(place * step, centre, ln_width_sigma)) > slack
        for place in range(-steps, steps + 1)
    )


def _probabilities(change: RelativeChange, ln_t: float) -> tuple[float, float]:
    """Returns the probabilities of L < ln_t before and after the change; L is linear in the noise of the width."""
    # A larger shift of the width is a harder change: the smaller one is a function of it and of noise.
    m, mu, rho = max(change.width, _SMALLEST_SHIFT), change.centre, change.factor
    nodes: Floats = np.linspace(-_END, _END, _NODES)
    weights = np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi) * (nodes[1] - nodes[0])

    def limit(noise: Floats, standardised: Floats) -> Floats:
        """The largest noise of the width with L < ln_t, by the centre's noise."""
        limits: Floats = (ln_t + m * m / 2 + math.log(rho) - noise**2 / 2 + standardised**2 / 2) / m
        return limits

    before = limit(nodes, (nodes - mu) / rho)
    after = limit(mu + rho * nodes, nodes)
    return float(weights @ special.ndtr(before)), float(weights @ special.ndtr(after - m))
