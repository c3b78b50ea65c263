"""The count that a class needs in an altered image: count transfer (docs/mathematics.md, 11.2)."""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from certrad.models.prediction_sets.ranks import CONSTANT, SLOPE
from certrad.models.types import ETA

_Shares = NDArray[np.float64]

_GRID: Final = np.concatenate([np.linspace(1.0, 2e-3, 4001), np.geomspace(2e-3, 1e-12, 400)[1:], [0.0]])
"""Values of P(clean count < q), falling: where the line is compared with the attacked count."""
_COARSE: Final = 37
"""Every so manieth value is compared first."""


def probability_below(count: int, n: int, shares: ArrayLike) -> _Shares:
    """Returns P(Bin(n, w) < count) for each share w.

    Args:
        count: The count.
        n: The number of samples.
        shares: Probabilities w in [0, 1], of any shape.
    """
    shares = np.asarray(shares, np.float64)
    if count <= 0:
        return np.zeros_like(shares)
    if count > n:
        return np.ones_like(shares)
    return np.asarray(special.betaincc(count, n - count + 1, shares))


def attacked_shares(shares: ArrayLike, ratio: float) -> _Shares:
    """Returns the smallest share that a class can have after a change of the image: Phi(z(w - eta) - r/sigma) - eta.

    eta is the distance of the executed noise from Gaussian noise, before and after the change.

    Args:
        shares: Probabilities w of the class under noise, before the change.
        ratio: L2 norm of the change in units of sigma.
    """
    clean = np.clip(np.asarray(shares, np.float64) - ETA, 0.0, 1.0)
    moved = np.asarray(special.ndtr(special.ndtri(clean) - ratio), np.float64)
    return np.clip(moved - ETA, 0.0, 1.0)


def robust_threshold(
    quantile: int,
    n: int,
    n_test: int,
    ratio: float,
    *,
    slope: float = float(SLOPE),
    constant: float = float(CONSTANT),
) -> int:
    """Returns t: the largest count with P(attacked count < t) <= a P(clean count < q) + c for all shares.

    Both sides fall as the share grows, so that between two shares it is enough that the left side at the lower one is
    below the right side at the upper one. The 4,400 steps of the grid lose one count at most, and one more for every
    1,000 samples.

    Args:
        quantile: q, a count of a calibration image; see `clean_quantile`.
        n: Samples of a calibration image.
        n_test: Samples of the image that gets the set; t is computed for them, and never scaled.
        ratio: L2 norm of the change in units of sigma.
        slope: a of the line.
        constant: c of the line.

    Raises:
        ValueError: A number is out of range.
    """
    if not 0 <= quantile <= n or n_test < 1 or not 0 <= ratio < np.inf:
        raise ValueError(
            f"0 <= quantile <= n, n_test >= 1 and ratio >= 0 must hold, got {quantile!r}, {n!r}, {n_test!r}, {ratio!r}"
        )
    low, high = 0, n_test if quantile else 0  # every count satisfies 0
    while low < high:
        middle = (low + high + 1) // 2
        if may_be_threshold(middle, quantile, n, n_test, ratio, slope=slope, constant=constant):
            low = middle
        else:
            high = middle - 1
    return low


def may_be_threshold(
    count: int,
    quantile: int,
    n: int,
    n_test: int,
    ratio: float,
    *,
    slope: float = float(SLOPE),
    constant: float = float(CONSTANT),
) -> bool:
    """Returns whether the grid shows that a count may be the threshold.

    Args:
        count: The count t.
        quantile: See `robust_threshold`.
        n: See `robust_threshold`.
        n_test: See `robust_threshold`.
        ratio: See `robust_threshold`.
        slope: a of the line.
        constant: c of the line.
    """
    if count <= 0 or quantile <= 0:
        return count <= 0
    clean, right = _clean_shares(quantile, n)[:-1], slope * _GRID[1:] + constant
    return all(  # the few shares first: most counts that are too large fail there
        bool(np.all(probability_below(count, n_test, attacked_shares(clean[::step], ratio)) <= right[::step]))
        for step in (_COARSE, 1)
    )


@lru_cache(maxsize=256)
def _clean_shares(quantile: int, n: int) -> _Shares:
    """Returns the shares, rising, at which P(Bin(n, w) < q) has the values of the grid."""
    inner = special.betainccinv(quantile, n - quantile + 1, _GRID[1:-1])
    return np.concatenate([[0.0], inner, [1.0]])
