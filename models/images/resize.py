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

    Attributes:
        n: Samples of the axis before.
        first: int64 (rows,), the first sample of each row's support.
        weights: float64 (rows, taps) from there on, zero behind the end of the support; each row sums to 1, or to less
            where its support reaches into padding.
    """

    n: int
    first: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def padded(cls, n: int, side: int, size: int) -> "AxisResize":
        """Returns the operator that pads n samples with zeros on both sides and resizes them.

        Args:
            n: Samples of the axis.
            side: Samples after padding.
            size: Rows of the result.
        """
        whole = cls.of_rows(side, size, range(size))
        start = whole.first - (side - n) // 2
        first = np.clip(start, 0, n - 1)
        taps = (first - start)[:, None] + np.arange(min(whole.taps, n))
        inside = (taps >= 0) & (taps < whole.taps) & (start[:, None] + taps < n)
        weights = np.take_along_axis(whole.weights, np.clip(taps, 0, whole.taps - 1), axis=1)
        return cls(n=n, first=first, weights=np.where(inside, weights, 0.0))

    @classmethod
    def to_centre(cls, n: int, m: int, size: int) -> "AxisResize":
        """Returns the operator that resizes and keeps the centre; the offset is rounded half to even.

        Args:
            n: Samples of the axis.
            m: Rows that they are resized to.
            size: Rows that are kept.
        """
        offset = round((m - size) / 2)
        return cls.of_rows(n, m, range(offset, offset + size))

    @classmethod
    def of_rows(cls, n: int, m: int, rows: range) -> "AxisResize":
        """Returns some rows of the resize, by the formulas of Pillow's `precompute_coeffs`, in float64 as there.

        The source of Pillow is src/libImaging/Resample.c.

        Args:
            n: Samples of the axis.
            m: Rows that they are resized to.
            rows: The rows that are kept.
        """
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
        """Returns the number of terms in the sum of one output sample."""
        return int(self.weights.shape[1])

    @property
    def samples(self) -> range:
        """Returns the range of samples that any row reads; the others do not matter."""
        read = (self.first[:, None] + np.arange(self.taps))[self.weights != 0]
        return range(int(read.min()), int(read.max()) + 1)

    def apply(self, pixels: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        """Resizes one axis; adds products tap by tap in float64, so the bytes are the same on every machine.

        Args:
            pixels: The image.
            axis: The axis.

        Returns:
            The resized image.
        """
        shape = [1] * pixels.ndim
        shape[axis] = len(self.weights)
        resized = np.zeros((*pixels.shape[:axis], len(self.weights), *pixels.shape[axis + 1 :]))
        for tap in range(self.taps):
            source = np.minimum(self.first + tap, self.n - 1)
            resized += self.weights[:, tap].reshape(shape) * pixels.take(source, axis)
        return resized

    def matrix(self) -> NDArray[np.float64]:
        """Returns the operator on `samples`, (rows, len(samples)); the other columns are zero and left out."""
        samples = self.samples
        matrix = np.zeros((len(self.weights), len(samples)))
        columns = np.clip(self.first[:, None] + np.arange(self.taps) - samples.start, 0, len(samples) - 1)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], columns), self.weights)
        return matrix

    def on_samples(self) -> "AxisResize":
        """Returns the same operator on `samples` alone, with no weight of zero that all rows share."""
        matrix = self.matrix()
        read = matrix != 0
        first = read.argmax(axis=1)
        last = np.where(read.any(axis=1), matrix.shape[1] - read[:, ::-1].argmax(axis=1), first)
        columns = first[:, None] + np.arange((last - first).max())
        weights = np.take_along_axis(matrix, np.minimum(columns, matrix.shape[1] - 1), axis=1)
        return AxisResize(n=matrix.shape[1], first=first, weights=np.where(columns < last[:, None], weights, 0.0))

    def norm(self) -> float:
        """Returns the spectral norm: the root of the largest eigenvalue of A A^T, no larger than the model input."""
        matrix = self.matrix()
        return float(np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1]))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns Keys' cubic convolution kernel (1981, eq. 4) with a = -1/2, as Pillow evaluates it."""
    x = np.abs(x)
    a = _CUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
