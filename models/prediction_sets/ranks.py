"""Which count of a calibration set its threshold is made of: exact ranks, in fractions of the decimal numbers."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import Final

from certrad.models.types.calibration import LINE

SLOPE: Final = Fraction(repr(LINE[0]))
CONSTANT: Final = Fraction(repr(LINE[1]))
"""The line a f + c of docs/mathematics.md, 11.2: a tenth of the misses pays for finite numbers of samples."""


def clean_level(beta: float) -> Fraction:
    """Returns the share of misses that the rank may spend: beta_0 = (beta - c) / a, exactly.

    Args:
        beta: The share of misses that is promised, read as the decimal number that it is printed as.
    """
    return (Fraction(repr(beta)) - CONSTANT) / SLOPE


def rank(images: int, level: Fraction, poisoned: int = 0) -> int:
    """Returns l = floor(level (m + 1)) - v: the rank of the count that the threshold is made of, from 1; 0 for none.

    With v images that somebody may have replaced, the count of rank l - v is at most the one of rank l before.

    Args:
        images: The number m of calibration images.
        level: See `clean_level`.
        poisoned: The number v of calibration images that may have been replaced by anything.

    Raises:
        ValueError: A number is negative.
    """
    if images < 0 or poisoned < 0:
        raise ValueError(f"images and poisoned must be >= 0, got {images!r} and {poisoned!r}")
    return max(0, floor(level * (images + 1)) - poisoned)


def rank_of_misses(images: int, level: Fraction, poisoned: int = 0) -> int:
    """Returns l = floor(level (m + 1)), the rank that the misses of one calibration set follow; 0 for no threshold.

    The threshold after a replacement is at most that of rank l before, and may be equal: misses follow l, not l - v.

    Args:
        images: The number m of calibration images.
        level: See `clean_level`.
        poisoned: The number v of calibration images that may have been replaced by anything.

    Raises:
        ValueError: A number is negative.
    """
    return rank(images, level) if rank(images, level, poisoned) else 0


def images_needed(level: Fraction, poisoned: int = 0) -> int:
    """Returns the fewest calibration images with which there is a threshold; with fewer every image gets the class.

    Args:
        level: See `clean_level`.
        poisoned: The number of calibration images that may have been replaced.
    """
    return max(0, -floor(-(1 + poisoned) / level) - 1)


def clean_quantile(counts: Sequence[int], level: Fraction, poisoned: int = 0) -> int:
    """Returns q, the l-th smallest count; 0 where there are too few images, so that the class is in every set.

    Args:
        counts: Of each calibration image, the samples that have its own class.
        level: See `clean_level`.
        poisoned: The number of calibration images that may have been replaced.
    """
    place = rank(len(counts), level, poisoned)
    return sorted(counts)[place - 1] if place else 0
