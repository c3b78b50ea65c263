"""The meaning of a radius on the model input for the image that was sent, in the image's own units.

Between the decoded values u and the model input lies a map T of which every step has a Lipschitz constant: the
rendering of each value onto [0, 1], the resize of each axis, crop and clips (1), one channel copied to three (sqrt 3),
and one rounding at the end. So ||T(u + e) - T(u)|| <= L ||e|| + rounding, with L the product of the constants, and the
class cannot change while ||e|| < (R - rounding) / L. Nothing on that way rounds to 8 bits or looks at the image's
content; a step that did would have no such constant.

With noise on the rendered image itself, T is the rendering alone: L is its slope, and the rounding that of float64.

Everything published follows from published numbers in exact rational arithmetic, so anyone can do it again.
"""

from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction
from math import isqrt, sqrt
from typing import Final

from certrad.models.types.image import Factors, ImageRadius, ImageRegion, ImageScale, NoImageRadius, PixelBudget

CHANGES: Final = (1, 5, 10, 50)
_UNIT_STEPS: Final = 10_000  # the radius is floored to a multiple of 1 / 10,000 unit
_MARGIN: Final = 1e-9  # of every factor, for the float64 arithmetic it was computed in
_RAISED: Final = Context(prec=10, rounding=ROUND_UP)


def radius_in_image_units(radius: float | None, scale: ImageScale) -> ImageRadius | NoImageRadius:
    """Returns the certified radius on the image, rounded against the claim.

    l2 = floor4((radius - rounding) / L) with the published factors. The statements in pixels hold strictly in integers:
    with a = 10^4 l2 and N values, N (10^4 uniform_change)^2 < a^2 and channels max_pixels change^2 10^8 < a^2.

    Args:
        radius: The published radius on the model input with pixels in [0, 1]; None for an abstention.
        scale: How far a change of the image can move the model input.
    """
    if radius is None:
        return NoImageRadius(reason="an abstention has no radius")
    if scale.depends_on_pixels:
        return NoImageRadius(
            reason="the window was chosen by percentiles of this image: its map to the model input depends on the image"
        )
    if scale.slope == 0:
        return NoImageRadius(reason="every value is rendered alike: no change of the picture reaches the model input")
    factors = _factors(scale)
    steps = _l2_steps(radius, factors)
    if steps < 1:
        return NoImageRadius(reason="the radius is not above what rounding to the model input can take off it")
    squared = steps * steps - 1  # the largest integer strictly below
    return ImageRadius(
        l2=steps / _UNIT_STEPS,
        unit=scale.unit,
        uniform_change=isqrt(squared // (scale.rows * scale.columns * scale.channels)) / _UNIT_STEPS,
        pixels=tuple(
            PixelBudget(
                change=change,
                max_pixels=min(
                    squared // (scale.channels * (change * _UNIT_STEPS) ** 2),
                    scale.rows * scale.columns,
                ),
            )
            for change in CHANGES
        ),
        region=ImageRegion(rows=scale.rows, columns=scale.columns, channels=scale.channels),
        factors=factors,
        note=scale.note,
    )


def rendered_rounding(values: int) -> float:
    """Returns what two rendered images of so many values are off by, as an L2 norm: each value by at most 2^-34.

    They are compared as they are rendered, in float64, which leaves room for a window at the edge of the stored values.

    Args:
        values: Values of each image.
    """
    return 2 * sqrt(values) * 2.0**-34


def published_rounding(values: int) -> float:
    """Returns `rendered_rounding` as a certificate states it, raised.

    Args:
        values: Values of each image.
    """
    return _raised(rendered_rounding(values))


def _factors(scale: ImageScale) -> Factors:
    if scale.direct:
        return Factors(
            resize_vertical=1.0,
            resize_horizontal=1.0,
            channels=1.0,
            slope=_raised(scale.slope),
            rounding=_raised(scale.rounding),
        )
    return Factors(
        resize_vertical=_raised(scale.resize_vertical),
        resize_horizontal=_raised(scale.resize_horizontal),
        channels=_raised(sqrt(3)) if scale.channels == 1 else 1.0,
        slope=_raised(scale.slope),
        rounding=_raised(scale.rounding),
    )


def _raised(factor: float) -> float:
    return float(_RAISED.create_decimal_from_float(factor * (1 + _MARGIN)))


def _l2_steps(radius: float, factors: Factors) -> int:
    """Returns 10^4 l2."""
    lipschitz = (
        _exact(factors.resize_vertical)
        * _exact(factors.resize_horizontal)
        * _exact(factors.channels)
        * _exact(factors.slope)
    )
    return int((_exact(radius) - _exact(factors.rounding)) / lipschitz * _UNIT_STEPS // 1)


def _exact(published: float) -> Fraction:
    """Returns the decimal number that a published float stands for."""
    return Fraction(Decimal(repr(published)))
