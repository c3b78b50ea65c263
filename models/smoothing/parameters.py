"""What noise on the parameters of a rendering shows: an ellipsoid of windows and L2 changes (docs/mathematics.md, 10).

Arithmetic only: no tensors, no randomness.
"""

import math

from certrad.models.smoothing.bounds import RADIUS_DECIMALS, floor_decimals, radius, raise_decimals
from certrad.models.types.parameters import ParameterLimits, ParameterSigma, Shares


def reach(p_a_lower: float, p_b_upper: float) -> float:
    """Returns R = (z(p_A) - z(p_B)) / 2, in standard deviations of every noise; it certifies only if R > 0.

    The class is the same for every change of the parameters by Delta_i and of the model input by an L2 norm of r with
    sum (Delta_i / s_i)^2 + (r / sigma)^2 < R^2.

    Args:
        p_a_lower: Lower bound of the class's probability under all the noise.
        p_b_upper: Upper bound of every other outcome's.
    """
    return radius(p_a_lower, p_b_upper, 1.0)


def parameter_limits(
    p_a_lower: float, p_b_upper: float, parameter_sigma: ParameterSigma, sigma: float, shares: Shares
) -> ParameterLimits:
    """Returns the limits of one part of the ellipsoid, rounded against the claim; all nothing where none is certified.

    Args:
        p_a_lower: See `reach`.
        p_b_upper: See `reach`.
        parameter_sigma: Standard deviations of the noise on the window.
        sigma: That of the noise on the model input; 0 where it has none, and then no L2 change is covered.
        shares: How the part divides the square of the reach.
    """
    reached = max(0.0, reach(p_a_lower, p_b_upper))
    ln_width = parameter_sigma.ln_window_width * reached * math.sqrt(shares.width)
    return ParameterLimits(
        centre=_floored(parameter_sigma.window_centre * reached * math.sqrt(shares.centre)),
        width_low=raise_decimals(math.exp(-ln_width), RADIUS_DECIMALS),
        width_high=_floored(math.exp(ln_width)),
        l2=_floored(sigma * reached * math.sqrt(shares.l2)),
    )


def _floored(value: float) -> float:
    return floor_decimals(value, RADIUS_DECIMALS)
