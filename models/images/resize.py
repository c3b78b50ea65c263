"""Pillow's antialiased bicubic resize of one axis as an explicit linear operator, with its norm.

An image X is resized to A_v X A_h^T, so the L2 Lipschitz constant of the resize is the product of the two spectral
norms (the singular values of a Kronecker product are the products of those of its factors).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CUBIC_A: Final = -0.5
_CUBIC_SUPPORT: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxisResize:
    """Some rows of the operator that resizes an axis of n samples.

    n: samples of the axis before.
    first: int64 (rows,), the first sample of each row's support.
    weights: float64 (rows, taps) from there on, zero behind the end of the support; each row sums to 1, or to less
        where its support reaches into padding.
    """

    n: int
    first: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def padded(cls, n: int, side: int, size: int) -> "AxisResize":
        """The `size` rows that n samples, with zeros before and behind them up to `side` samples, are resized to."""
        whole = cls.of_rows(side, size, range(size))
        start = whole.first - (side - n) // 2
        first = np.clip(start, 0, n - 1)
        taps = (first - start)[:, None] + np.arange(min(whole.taps, n))
        inside = (taps >= 0) & (taps < whole.taps) & (start[:, None] + taps < n)
        weights = np.take_along_axis(whole.weights, np.clip(taps, 0, whole.taps - 1), axis=1)
        return cls(n=n, first=first, weights=np.where(inside, weights, 0.0))

    @classmethod
    def to_centre(cls, n: int, m: int, size: int) -> "AxisResize":
        """The central `size` of the m rows that n samples are resized to; the offset is rounded half to even."""
        offset = round((m - size) / 2)
        return cls.of_rows(n, m, range(offset, offset + size))

    @classmethod
    def of_rows(cls, n: int, m: int, rows: range) -> "AxisResize":
        """The formulas of Pillow's `precompute_coeffs` (src/libImaging/Resample.c), which computes in float64 too."""
        scale = n / m
        stretch = max(scale, 1.0)
        support = _CUBIC_SUPPORT * stretch
        centre = (np.arange(rows.start, rows.stop) + 0.5) * scale
        first = np.maximum(np.trunc(centre - support + 0.5), 0).astype(np.int64)
        last = np.minimum(np.trunc(centre + support + 0.5), n).astype(np.int64)
        taps = np.arange((last - first).max())
        weights = _cubic((taps + first[:, None] - centre[:, None] + 0.5) / stretch)
        weights[taps >= (last - first)[:, None]] = 0.0
        return cls(n=n, first=first, weights=weights / weights.cumsum(axis=1)[:, -1:])

    @property
    def taps(self) -> int:
        """Terms in the sum of one output sample."""
        return int(self.weights.shape[1])

    @property
    def samples(self) -> range:
        """From the first to the last sample that any row reads; the others do not matter."""
        read = (self.first[:, None] + np.arange(self.taps))[self.weights != 0]
        return range(int(read.min()), int(read.max()) + 1)

    def apply(self, pixels: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        """Resizes that axis; products are added tap by tap in float64, so the bytes are the same on every machine."""
        shape = [1] * pixels.ndim
        shape[axis] = len(self.weights)
        resized = np.zeros((*pixels.shape[:axis], len(self.weights), *pixels.shape[axis + 1 :]))
        for tap in range(self.taps):
            source = np.minimum(self.first + tap, self.n - 1)
            resized += self.weights[:, tap].reshape(shape) * pixels.take(source, axis)
        return resized

    def matrix(self) -> NDArray[np.float64]:
        """The operator on `samples`, (rows, len(samples)); the other columns are zero and left out."""
        samples = self.samples
        matrix = np.zeros((len(self.weights), len(samples)))
        columns = np.clip(self.first[:, None] + np.arange(self.taps) - samples.start, 0, len(samples) - 1)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], columns), self.weights)
        return matrix

    def norm(self) -> float:
        """The spectral norm: the root of the largest eigenvalue of A A^T, which is as small as the model input."""
        matrix = self.matrix()
        return float(np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1]))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981, eq. 4) with a = -1/2, as Pillow evaluates it."""
    x = np.abs(x)
    a = _CUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
