"""Shares of images with their binomial error, and the radii at which the field reports certified accuracy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper
from certrad.models.types import Certificate, Outcome

RADII: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5)
"""The radii of PromptSmooth's tables, and beyond them what sigma = 1 can reach."""
INTERVAL_ALPHA: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of the images with its exact 95% interval (Clopper & Pearson 1934); made by `of`.

    Attributes:
        hits: Images that count.
        images: All images, at least 1.
        value: hits / images.
        low: Lower end of the interval, rounded to 6 decimals.
        high: Upper end of the interval, rounded to 6 decimals.
    """

    hits: int
    images: int
    value: float
    low: float
    high: float

    @staticmethod
    def of(hits: int, images: int) -> "Share":
        """Returns the share hits / images.

        Args:
            hits: Images that count, in [0, images].
            images: All images, at least 1.

        Raises:
            ValueError: A number is out of its range.
        """
        if not 0 <= hits <= images or images < 1:
            raise ValueError(f"hits and images must satisfy 0 <= hits <= images, images >= 1; got {hits} of {images}")
        return Share(
            hits=hits,
            images=images,
            value=hits / images,
            low=round(clopper_pearson_lower(hits, images, INTERVAL_ALPHA / 2), 6),
            high=round(clopper_pearson_upper(hits, images, INTERVAL_ALPHA / 2), 6),
        )


def certified_accuracy(results: Iterable[tuple[Outcome, int]], r: float) -> float:
    """Returns the fraction of images that are certified for their true class at radius >= r.

    At r = 0 every certified and correct image counts.

    Args:
        results: (outcome, true class) of every image.
        r: L2 radius in pixels of [0, 1], at least 0.

    Raises:
        ValueError: There is no image, or r is not >= 0.
    """
    if not r >= 0:
        raise ValueError(f"r must be >= 0, got {r!r}")
    hits = [
        isinstance(outcome, Certificate) and outcome.class_index == label and outcome.radius >= r
        for outcome, label in results
    ]
    if not hits:
        raise ValueError("results must hold at least one image, got none")
    return sum(hits) / len(hits)
