"""Checks the thresholds of prediction sets again: independent of `prediction_sets`, of its grid and of scipy.

The inequality is shown for all shares by halving intervals of shares until it follows on each from its two ends. This
is done in doubles; where the margin is smallest it is computed again in 30 digits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from statistics import NormalDist
from typing import Any, Final

from mpmath import mp, mpf

from certrad.models.certificates.exact import binomial_tail, quantile
from certrad.models.prediction_sets.ranks import CONSTANT, SLOPE
from certrad.models.types import ETA

_INTERVALS_MAX: Final = 20_000
_TIE: Final = 1e-8  # doubles know a probability of a million samples to this
_NORMAL: Final = NormalDist()
_Real = Any  # mpmath has no types


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """From the count of a calibration image to that of an altered one.

    Attributes:
        quantile: q, a count of a calibration image.
        n: Samples of a calibration image.
        n_test: Samples of the image that gets the set.
        ratio: L2 norm of the change in units of sigma, as the fraction of two decimal numbers.
    """

    quantile: int
    n: int
    n_test: int
    ratio: Fraction


def may_be_threshold(threshold: int, transfer: Transfer) -> bool:
    """Returns whether P(attacked count < t) <= a P(clean count < q) + c is shown for all shares.

    Args:
        threshold: The count t.
        transfer: See `Transfer`.
    """
    if threshold <= 0:
        return True
    if not 0 < transfer.quantile <= transfer.n or threshold > transfer.n_test:
        return False
    ratio = float(transfer.ratio)

    @cache
    def missed(share: float) -> float:
        return _below(threshold, transfer.n_test, _attacked(share, ratio))

    @cache
    def allowed(share: float) -> float:
        return float(SLOPE) * _below(transfer.quantile, transfer.n, share) + float(CONSTANT)

    smallest = _smallest_margin(missed, allowed)
    return smallest is not None and _exact_margin(threshold, transfer, smallest) >= -_TIE


def shows_misses(images: int, place: int, delta: float, misses_at_most: float) -> bool:
    """Returns whether P(a B + c > misses_at_most) <= delta for B of Beta(l, m + 1 - l), the misses of one calibration.

    Args:
        images: The number m of calibration images.
        place: The rank l, at least 1.
        delta: The probability.
        misses_at_most: The share of misses.
    """
    level = (Fraction(repr(misses_at_most)) - CONSTANT) / SLOPE
    if level >= 1:
        return True
    with mp.workdps(30):
        share = mpf(level.numerator) / level.denominator
        return level > 0 and bool(1 - binomial_tail(place, images, share) <= mpf(repr(delta)) + mpf(_TIE))


def _smallest_margin(missed: Callable[[float], float], allowed: Callable[[float], float]) -> float | None:
    """Returns the share at which the margin is smallest; None where it is not shown to be positive everywhere."""
    intervals, seen, best = [(0.0, 1.0)], 0, (math.inf, 0.0)
    while intervals:
        low, high = intervals.pop()
        seen += 1
        best = min(best, (allowed(high) - missed(high), high))
        if missed(low) <= allowed(high) + _TIE:  # both fall, so that it holds in between
            continue
        if best[0] < -_TIE or seen > _INTERVALS_MAX:
            return None
        middle = (low + high) / 2
        intervals += [(low, middle), (middle, high)]
    return best[1]


def _exact_margin(threshold: int, transfer: Transfer, share: float) -> float:
    """Returns a P(clean count < q) + c - P(attacked count < t) at one share, computed in 30 digits."""
    with mp.workdps(30):
        w, eta = mpf(share), mpf(repr(ETA))
        clean = 1 - binomial_tail(transfer.quantile, transfer.n, w)
        moved = mpf(0)
        if w - eta > 0:
            z = quantile(w - eta)
            moved = mp.ncdf(z - mpf(transfer.ratio.numerator) / transfer.ratio.denominator) - eta
        missed = 1 - binomial_tail(threshold, transfer.n_test, max(moved, mpf(0)))
        return float(mpf(SLOPE.numerator) / SLOPE.denominator * clean + mpf(1) / CONSTANT.denominator - missed)


def _attacked(share: float, ratio: float) -> float:
    clean = share - ETA
    return max(0.0, 0.5 * math.erfc((ratio - _NORMAL.inv_cdf(clean)) / math.sqrt(2)) - ETA) if clean > 0 else 0.0


def _below(count: int, n: int, share: float) -> float:
    """Returns P(Bin(n, w) < count)."""
    if count <= 0 or share >= 1:
        return 0.0 if count <= n else 1.0
    return 1.0 if count > n or share <= 0 else _incomplete_beta(float(n - count + 1), float(count), 1 - share)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Returns I_x(a, b), 0 < x < 1, by its continued fraction from the end (DLMF 8.17.22)."""
    if x > a / (a + b):
        return 1 - _incomplete_beta(b, a, 1 - x)
    rest = 1.0
    for m in range(int(30 + 2 * math.sqrt(a + b)), 0, -1):
        rest = 1 - (a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) / rest
        rest = 1 + m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) / rest
    log_front = a * math.log(x) + b * math.log1p(-x) - math.lgamma(a) - math.lgamma(b) + math.lgamma(a + b)
    return math.exp(log_front) / (a - a * (a + b) * x / (a + 1) / rest)
