"""What a radius on the model input means on the image that was sent, in the image's own units.

Between the decoded values u and the model input lies a map T of which every step has a Lipschitz constant: the
rendering of each value onto [0, 1], the resize of each axis, crop and clips (1), one channel copied to three (sqrt 3),
and one rounding at the end. So ||T(u + e) - T(u)|| <= L ||e|| + rounding, with L the product of the constants, and the
class cannot change while ||e|| < (R - rounding) / L. Nothing on that way rounds to 8 bits or looks at the image's
content; a step that did would have no such constant.

Everything published follows from published numbers in exact rational arithmetic, so anyone can do it again.
"""

from dataclasses import dataclass
from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction
from math import isfinite, isqrt, sqrt
from typing import Final, Literal

Unit = Literal["grey level", "HU", "stored value"]

CHANGES: Final = (1, 5, 10, 50)
_UNITS: Final = ("grey level", "HU", "stored value")
_UNIT_STEPS: Final = 10_000  # the radius is floored to a multiple of 1 / 10,000 unit
_MARGIN: Final = 1e-9  # of every factor, for the float64 arithmetic it was computed in
_RAISED: Final = Context(prec=10, rounding=ROUND_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScale:
    """How far a change of the image can move the model input.

    unit, slope: the largest change of a value in [0, 1] per unit of the image.
    rows, columns, channels: of the part of the image that the model input is made of.
    resize_vertical, resize_horizontal: spectral norms of the resize of each axis.
    rounding: L2 distance that rounding alone can put between the model inputs of two images.
    note: what the image's values are, in words.
    """

    unit: Unit
    slope: float
    rows: int
    columns: int
    channels: Literal[1, 3]
    resize_vertical: float
    resize_horizontal: float
    rounding: float
    note: str

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise ValueError(f"unit must be one of {', '.join(_UNITS)}, got {self.unit!r}")
        if self.channels not in (1, 3) or min(self.rows, self.columns) < 1:
            raise ValueError(f"1 or 3 channels are expected, got {self.rows} x {self.columns} x {self.channels}")
        if not (self.slope >= 0 and isfinite(self.slope)):  # also refuses NaN
            raise ValueError(f"slope must be finite and >= 0, got {self.slope!r}")
        for factor in (self.resize_vertical, self.resize_horizontal, self.rounding):
            if not (factor > 0 and isfinite(factor)):
                raise ValueError(f"norms and rounding must be finite and > 0, got {factor!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The factors of L and the allowance for rounding, each raised to 10 digits after a relative margin of 1e-9."""

    resize_vertical: float
    resize_horizontal: float
    channels: float
    slope: float
    rounding: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegion:
    """The part of the image, or of the requested region, that the model input is made of; the rest is free."""

    rows: int
    columns: int
    channels: Literal[1, 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelBudget:
    """Any `max_pixels` pixels may each change by `change` units at most, in every channel."""

    change: int
    max_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRadius:
    """The class does not change while the L2 norm of the change, over pixels and channels, is below `l2` units.

    uniform_change: the largest change that every value may undergo at once; pixels: fewer pixels may change by more.
    """

    l2: float
    unit: Unit
    uniform_change: float
    pixels: tuple[PixelBudget, ...]
    region: ImageRegion
    factors: Factors
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImageRadius:
    """There is no radius in the image's units, and why."""

    reason: str
    value: None = None


def radius_in_image_units(radius: float | None, scale: ImageScale) -> ImageRadius | NoImageRadius:
    """The certified radius on the image, rounded against us.

    radius: as published, on the model input with pixels in [0, 1]; None for an abstention.

    l2 = floor4((radius - rounding) / L) with the published factors. The statements in pixels hold strictly in integers:
    with a = 10^4 l2 and N values, N (10^4 uniform_change)^2 < a^2 and channels max_pixels change^2 10^8 < a^2.
    """
    if radius is None:
        return NoImageRadius(reason="an abstention has no radius")
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


def _factors(scale: ImageScale) -> Factors:
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
    """10^4 l2."""
    lipschitz = (
        _exact(factors.resize_vertical)
        * _exact(factors.resize_horizontal)
        * _exact(factors.channels)
        * _exact(factors.slope)
    )
    return int((_exact(radius) - _exact(factors.rounding)) / lipschitz * _UNIT_STEPS // 1)


def _exact(published: float) -> Fraction:
    """The decimal number that a float stands for where it is published."""
    return Fraction(Decimal(repr(published)))
