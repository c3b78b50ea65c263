"""What can be said about the one calibration set that was drawn (docs/mathematics.md, 11.5)."""

from scipy import special

from certrad.models.prediction_sets.ranks import CONSTANT, SLOPE


def most_misses(images: int, place: int, delta: float) -> float:
    """Returns an upper bound of the share of misses with this calibration set: false with probability at most delta.

    It is a BetaInv(1 - delta; l, m + 1 - l) + c, for calibration images that are drawn independently of each other.

    Args:
        images: The number m of calibration images.
        place: The rank l of the count that the threshold is made of; 0 where the class is in every set.
        delta: Probability that the calibration set is a worse one, in (0, 1).

    Raises:
        ValueError: A number is out of range.
    """
    if not (0 <= place <= images and 0 < delta < 1):
        raise ValueError(f"0 <= place <= images and 0 < delta < 1 must hold, got {place!r}, {images!r} and {delta!r}")
    if not place:
        return 0.0
    quantile = float(special.betainccinv(place, images + 1 - place, delta))
    return min(1.0, float(SLOPE) * quantile + float(CONSTANT))
