"""The numbers of a certificate computed again from label counts, in 30 digits: independent of `smoothing` and of scipy.

Published numbers are compared as integers, in units of their last decimal. Where rounding to it is a tie, the service's
floating-point numbers may fall on either side: both are accepted, so a claim may be too large by 1e-12, or have spent
1e-8 of its share of alpha more than that, and nothing beyond.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from typing import Any, Final

from mpmath import mp, mpf

from certrad.models.types import ETA, AlphaSplit

MILLIONTHS: Final = 10**6
"""Units of a published probability."""
TEN_THOUSANDTHS: Final = 10**4
"""Units of a published radius."""

_DIGITS: Final = 30
_TIE: Final = 1e-12
_LOG_TIE: Final = 1e-8  # of ln M, which doubles know to 4e-9 after a million samples
_CANDIDATES: Final = 8
_Real = Any  # mpmath has no types


@dataclass(frozen=True, slots=True)
class Look:
    """The counts at one look.

    Attributes:
        n: Estimation samples so far.
        top: Those of the selected class.
        runner_up: Those of the most frequent other label.
    """

    n: int
    top: int
    runner_up: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The two published probability bounds.

    Attributes:
        p_a_lower: In millionths.
        p_b_upper: In millionths.
    """

    p_a_lower: int
    p_b_upper: int

    def __str__(self) -> str:
        return f"p_a_lower {self.p_a_lower / MILLIONTHS:.6f} and p_b_upper {self.p_b_upper / MILLIONTHS:.6f}"


NOTHING: Final = Bounds(0, MILLIONTHS)
"""The bounds before any sample."""


def radii(bounds: Bounds, sigma: float) -> set[int]:
    """Returns floor4(sigma/2 (z(p_a_lower) - z(p_b_upper))) in units of the last decimal, 0 where that is not positive.

    Args:
        bounds: The published bounds.
        sigma: Noise standard deviation in pixels of [0, 1].

    Returns:
        One radius, or both neighbours of a tie.
    """
    if not (0 < bounds.p_a_lower < MILLIONTHS and 0 < bounds.p_b_upper < MILLIONTHS):
        return {0}
    with mp.workdps(_DIGITS):
        z_a, z_b = (quantile(mpf(p) / MILLIONTHS) for p in (bounds.p_a_lower, bounds.p_b_upper))
        return {max(0, radius) for radius in _floors(_exact(sigma) / 2 * (z_a - z_b), TEN_THOUSANDTHS)}


def is_clopper_pearson(claimed: Bounds, look: Look, split: AlphaSplit) -> bool:
    """Returns whether bounds are floor6(cp_lower - eta) and raise6(min(1 - cp_lower, cp_upper) + eta) of all n samples.

    Args:
        claimed: The published bounds.
        look: The counts of all n samples.
        split: The shares of alpha.
    """
    with mp.workdps(_DIGITS):
        eta = _exact(ETA)

        def below_p_a(p: _Real) -> bool:
            return p <= 0 or bool(binomial_tail(look.top, look.n, p) <= split.p_a)

        def above_p_b(p: _Real) -> bool:
            return below_p_a(1 - p) or bool(binomial_tail(look.n - look.runner_up, look.n, 1 - p) <= split.p_b)

        return _is_largest(claimed.p_a_lower, lambda p, tie: below_p_a(p + eta - tie * _TIE)) and _is_largest(
            MILLIONTHS - claimed.p_b_upper, lambda q, tie: above_p_b(1 - q - eta + tie * _TIE)
        )


def is_e_process(claimed: Bounds, looks: Sequence[Look], split: AlphaSplit) -> bool:
    """Returns whether p_a_lower is the largest p that a look shows, and 1 - p_b_upper the larger of p and largest q.

    A look shows p if the test martingale of the class rejects "at most p + eta", and q if that of all labels but the
    most frequent other one does.

    Args:
        claimed: The published bounds.
        looks: The counts at every look.
        split: The shares of alpha.
    """
    with mp.workdps(_DIGITS):
        rises = partial(_rejects, [(look.top, look.n) for look in looks], split.p_a_anytime)
        falls = partial(_rejects, [(look.n - look.runner_up, look.n) for look in looks], split.p_b_anytime)
        p, q = claimed.p_a_lower, MILLIONTHS - claimed.p_b_upper
        shows_q = _is_largest(q, falls) if q > p else q == p and not falls(mpf(q + 1) / MILLIONTHS, -1)
        return _is_largest(p, rises) and shows_q


def _rejects(looks: Sequence[tuple[int, int]], share: float, p: _Real, tie: int) -> bool:
    """Returns whether the martingale against "the probability is at most p + eta" reached 1/share at a look (s, n)."""
    null = p + _exact(ETA)
    if null >= 1 or not share:
        return False
    p0, log_p, log_q = float(null), float(mp.log(null)), float(mp.log1p(-null))

    def nearly(look: tuple[int, int]) -> float:
        """Returns ln M in doubles, without its costly factor, which is within a thousandth of 1 where M is large."""
        s, f = look[0], look[1] - look[0]
        return math.lgamma(s + 0.5) + math.lgamma(f + 0.5) - math.lgamma(s + f + 1) - s * log_p - f * log_q

    above = (look for look in looks if look[0] > look[1] * p0)
    best = nlargest(_CANDIDATES, above, key=nearly)
    return any(_log_martingale(s, n, null) >= -mp.log(share) - tie * _LOG_TIE for s, n in best)


def _log_martingale(s: int, n: int, p: _Real) -> _Real:
    """Returns ln M: the likelihood of s of n under Beta(1/2, 1/2) truncated to (p, 1], over that of p; for s > n p.

    B(1/2, 1/2) (1 - I_p(1/2, 1/2)) = 2 acos(sqrt(p)) (docs/mathematics.md, 2.1).
    """
    a, b = s + mpf(1) / 2, n - s + mpf(1) / 2
    mixture = _log_beta(a, b) + mp.log1p(-_incomplete_beta(a, b, p)) - mp.log(2 * mp.acos(mp.sqrt(p)))
    return mixture - s * mp.log(p) - (n - s) * mp.log1p(-p)


def binomial_tail(k: int, n: int, p: _Real) -> _Real:
    """Returns P(Bin(n, p) >= k), in as many digits as mpmath works with.

    Args:
        k: The number of successes.
        n: Trials.
        p: Their probability.
    """
    if k <= 0 or p >= 1:
        return mpf(1)
    if k > n or p <= 0:
        return mpf(0)
    return _incomplete_beta(mpf(k), mpf(n - k + 1), p)


def _incomplete_beta(a: _Real, b: _Real, x: _Real) -> _Real:
    """Returns I_x(a, b), 0 < x < 1, by the continued fraction that converges on its side of the mean.

    DLMF 8.17.22.
    """
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    tiny, smallest = mpf(10) ** -_DIGITS, mpf(10) ** (-2 * _DIGITS)
    c, d = mpf(1), 1 / (1 - (a + b) * x / (a + 1))
    fraction, m = d, 0
    while True:  # Lentz's algorithm, two terms at a time
        m += 1
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + term * d or smallest), 1 + term / c or smallest
            fraction *= c * d
        if abs(c * d - 1) < tiny:
            return mp.exp(a * mp.log(x) + b * mp.log1p(-x) - _log_beta(a, b)) * fraction / a


def _log_beta(a: _Real, b: _Real) -> _Real:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def quantile(p: _Real) -> _Real:
    """Returns z(p), the quantile of the standard normal distribution, in the precision that is set.

    Args:
        p: A probability in (0, 1), as a number of mpmath.
    """
    return mp.sqrt(2) * mp.erfinv(2 * p - 1)


def _floors(x: _Real, units: int) -> set[int]:
    """Rounds x down to a number of units; both neighbours of a tie."""
    return {int(mp.floor((x + tie) * units)) for tie in (-_TIE, _TIE)}


def _is_largest(guess: int, holds: Callable[[_Real, int], bool]) -> bool:
    """Returns whether a property holds up to so many millionths and no further; at 0 it is taken to hold.

    Args:
        guess: The number of millionths.
        holds: The property, of a probability and a side of the tie: 1 for "as good as", -1 for "beyond doubt".
    """
    if not 0 <= guess <= MILLIONTHS or (guess > 0 and not holds(mpf(guess) / MILLIONTHS, 1)):
        return False
    return guess == MILLIONTHS or not holds(mpf(guess + 1) / MILLIONTHS, -1)


def _exact(published: float) -> _Real:
    """Returns the decimal number that a published float stands for."""
    return mpf(repr(published))
