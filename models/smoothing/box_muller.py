"""The Box-Muller transform in sums, products, quotients and roots of float64 alone: equal bits on every machine.

IEEE 754 fixes the result of these operations to the last bit, and numpy computes them one at a time. A logarithm or a
cosine of a library differs from processor to processor, and its threads would compete with those of the encoder.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHUNK: Final = 1 << 13
"""Pairs that are transformed at once: the arrays of 64 kB stay in the cache."""

# Near-minimax polynomials in z, highest power first, by Chebyshev interpolation with 40 digits (mpmath.chebyfit).
_SINE: Final = (
    0.000461531855383581,
    -0.007370021586907771,
    0.08214586918000175,
    -0.5992645289396449,
    2.5501640398733763,
    -5.167712780049954,
    3.141592653589793,
)
"""sin(pi h) / h in z = h^2, 0 <= z <= 1/16; the relative error is below 0.04 u, u = 2^-53."""
_LOGARITHM: Final = (
    0.14616449685043406,
    0.15331721600556042,
    0.18182889125261723,
    0.2222221113479508,
    0.28571428625975487,
    0.39999999999899505,
    0.666666666666667,
)
"""(2 artanh(s) / s - 2) / z in z = s^2, 0 <= z <= 0.02944; times z / 2 the error is below 0.05 u."""

_ROOT_OF_HALF: Final = 0x3FE6A09E667F3BCD
"""The bits of the float64 next to sqrt(1/2)."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxMuller:
    """The transform, with the memory that it works in: use one for each thread.

    With u = 2^-53 and r the exact radius, each normal errs by at most 14 u r, as follows step by step:

    - Sine. h is exact, and s = h P(h^2) errs by the factor 1 + 2.5 u: 0.4 u in the constant term, 0.4 u in the terms
      behind it, 0.7 u in their sum and 1 u in the last product. So s, at most 0.708, errs by 1.8 u, its square by 3 u,
      1 - 2 s^2 by 6.5 u, sqrt(1 - s^2) by 3 u, and 2 s sqrt(1 - s^2) by 7.7 u.
    - Logarithm. m - 1 is exact, s = (m - 1) / (m + 1) errs by the factor 1 + 2 u, ln m by 1 + 4.1 u, e ln 2 by
      1 + 1.3 u. Their sum is at least 0.346 wherever e < 0, and |ln m| at most 0.347: it errs by the factor 1 + 7.7 u,
      the root of its double by 1 + 4.9 u.
    - The product of both by 1 + u: 7.7 + 4.9 + 1 < 14. A test measures less than 6 u r.
    """

    _bits: NDArray[np.int64] = field(default_factory=lambda: np.empty((2, CHUNK), dtype=np.int64))
    _numbers: NDArray[np.float64] = field(default_factory=lambda: np.empty((6, CHUNK)))

    def transform(self, words: NDArray[np.uint64], normals: NDArray[np.float64]) -> None:
        """Writes r cos(2 pi u2) and r sin(2 pi u2), r = sqrt(-2 ln u1), into `normals`.

        u1 = (v + 1) 2^-53 and u2 = v' 2^-53, v and v' the upper 53 bits of the two words of a pair (Box & Muller 1958).

        Args:
            words: (pairs, 2), uint64; at most CHUNK pairs.
            normals: (pairs, 2), written to.
        """
        pairs = len(words)
        bits, (u1, u2, a, b, c, d) = self._bits[:, :pairs], self._numbers[:, :pairs]
        np.right_shift(words.T, 11, out=bits.view(np.uint64))
        np.multiply(bits, 2.0**-53, out=self._numbers[:2, :pairs])
        u1 += 2.0**-53
        _circle(u2, a, b, c)
        _log(u1, bits, b, d)
        u1 *= -2
        np.sqrt(u1, out=u1)
        np.multiply(u1, a, out=normals[:, 0])
        np.multiply(u1, u2, out=normals[:, 1])


def _circle(
    u: NDArray[np.float64], cosine: NDArray[np.float64], s: NDArray[np.float64], z: NDArray[np.float64]
) -> None:
    """Writes cos(2 pi u) into `cosine` and sin(2 pi u) into u itself, 0 <= u < 1; s and z are overwritten.

    With p = u - 1/2 and h = |p| - 1/4, both exact, cos(2 pi u) = sin(2 pi h) and sin(2 pi u) = -sgn(p) cos(2 pi h);
    the double angles are 2 s sqrt(1 - s^2) and 1 - 2 s^2 with s = sin(pi h), |pi h| <= pi / 4.
    """
    np.subtract(0.5, u, out=u)  # -p
    np.abs(u, out=cosine)
    cosine -= 0.25
    np.multiply(cosine, cosine, out=z)
    _polynomial(_SINE, z, s)
    s *= cosine
    np.multiply(s, s, out=z)
    np.subtract(1, z, out=cosine)
    np.sqrt(cosine, out=cosine)
    cosine *= s
    cosine *= 2
    z *= 2
    np.subtract(1, z, out=z)
    np.copysign(z, u, out=u)


def _log(u: NDArray[np.float64], bits: NDArray[np.int64], s: NDArray[np.float64], z: NDArray[np.float64]) -> None:
    """Writes ln u into u itself, 0 < u <= 1; bits (2, pairs), s and z are overwritten.

    u = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s) with s = (m - 1) / (m + 1).
    """
    of_u, (exponent, mantissa) = u.view(np.int64), bits
    np.subtract(of_u, _ROOT_OF_HALF, out=exponent)
    exponent >>= 52
    np.left_shift(exponent, 52, out=mantissa)
    np.subtract(of_u, mantissa, out=mantissa)
    m = mantissa.view(np.float64)
    np.subtract(m, 1, out=s)
    m += 1
    s /= m
    np.multiply(s, s, out=z)
    _polynomial(_LOGARITHM, z, u)
    u *= z
    u += 2
    u *= s
    np.multiply(exponent, math.log(2), out=s)
    u += s


def _polynomial(coefficients: tuple[float, ...], z: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Writes a polynomial of z into `out` by Horner's rule; the coefficients are given highest power first."""
    np.multiply(z, coefficients[0], out=out)
    for coefficient in coefficients[1:-1]:
        out += coefficient
        out *= z
    out += coefficients[-1]
