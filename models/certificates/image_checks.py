"""Compares what a document states about the image that was sent, and about the noisy one, with what follows from it.

Each check returns what it found, or raises ValueError with the reason of a refusal.
"""

from decimal import Decimal
from fractions import Fraction
from math import isqrt, prod
from typing import Final

from certrad.models.certificates.checks import units
from certrad.models.certificates.exact import TEN_THOUSANDTHS
from certrad.models.certificates.statement import StatedAbstention, Statement
from certrad.models.images.units import CHANGES, published_rounding
from certrad.models.types import ETA
from certrad.models.types.applied_window import PercentileRange
from certrad.models.types.image import Factors, ImageRegion, NoImageRadius
from certrad.models.types.noise_space import NoisyImage
from certrad.models.types.total_variation import total_variation

_GREY_TO_RGB: Final = 1.73205081  # sqrt(3), raised to 10 digits behind a margin of 1e-9


def image_units(statement: Statement) -> str:
    """Checks that the radius on the image follows from the radius and the stated factors; those need the image.

    Args:
        statement: The document.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    stated, claim = statement.radius_in_image_units, statement.claim
    if isinstance(stated, NoImageRadius):
        return f"none: {stated.reason}"
    if isinstance(claim, StatedAbstention) or isinstance(statement.subject.window, PercentileRange):
        raise ValueError("an abstention has no radius, nor has an image whose window depends on it")
    factors, region = stated.factors, stated.region
    lipschitz = prod(map(_exact, (factors.resize_vertical, factors.resize_horizontal, factors.channels, factors.slope)))
    if lipschitz <= 0 or min(region.rows, region.columns) < 1:
        raise ValueError("factors must be > 0, rows and columns at least 1")
    _check_factors(factors, region, statement.classifier.noisy_image)
    steps = int((_exact(claim.radius) - _exact(factors.rounding)) / lipschitz * TEN_THOUSANDTHS // 1)
    if steps < 1:
        raise ValueError("the radius is not above the rounding, which leaves no radius on the image")
    below = steps * steps - 1
    uniform = isqrt(below // (region.rows * region.columns * region.channels))
    if (units(stated.l2, TEN_THOUSANDTHS), units(stated.uniform_change, TEN_THOUSANDTHS)) != (steps, uniform):
        raise ValueError(f"l2 and uniform_change must be {steps} and {uniform} / {TEN_THOUSANDTHS}")
    if tuple(budget.change for budget in stated.pixels) != CHANGES:
        raise ValueError(f"changes must be {CHANGES}")
    for budget in stated.pixels:
        most = below // (region.channels * (budget.change * TEN_THOUSANDTHS) ** 2)
        if budget.max_pixels != min(most, region.rows * region.columns):
            raise ValueError(f"max_pixels for a change of {budget.change} does not follow from l2")
    return f"{stated.l2} {stated.unit} follows from the radius and the factors"


def noise_space(statement: Statement, image: NoisyImage) -> str:
    """Checks that eta pays for noise on all values of the rendered image.

    Args:
        statement: The document.
        image: The image that noise is added to.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    sigma, law = statement.request.sigma.largest, statement.noise.law
    if not total_variation(law, sigma, image.values) <= ETA:
        raise ValueError(f"at sigma={sigma} eta does not pay for noise of the law {law} on {image.values} values")
    return f"noise is added to the rendered image, {image.rows} x {image.columns} x {image.channels}"


def _check_factors(factors: Factors, region: ImageRegion, image: NoisyImage | None) -> None:
    """Checks the factors that do not depend on the image, and with a noisy image also the shape of the region."""
    if image is None:
        if factors.channels != (_GREY_TO_RGB if region.channels == 1 else 1.0):
            raise ValueError(f"the channel factor must be {_GREY_TO_RGB} for one channel shown as three, 1 for three")
        return
    if (factors.resize_vertical, factors.resize_horizontal, factors.channels) != (1.0, 1.0, 1.0):
        raise ValueError("noise is added to the rendered image: the factors of resize and channels must be 1")
    if (region.rows, region.columns, region.channels) != (image.rows, image.columns, image.channels):
        raise ValueError("region must have the shape of the rendered image that noise is added to")
    if factors.rounding != (expected := published_rounding(image.values)):
        raise ValueError(f"rounding must be {expected} for {image.values} rendered values, got {factors.rounding}")


def _exact(published: float) -> Fraction:
    return Fraction(Decimal(repr(published)))
