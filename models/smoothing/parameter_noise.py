"""Noise on the window of an image: fresh for every sample, and rounded after it was added.

The first two normals of `(key, stream | 4, i)` are the noise on centre and logarithm of the width of sample i, so that
its pixels, under the plain stream, are independent of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch

from certrad.models.smoothing.noise import CPU_LAWS, Noise, ParameterStream, Stream, boxmuller
from certrad.models.types.parameters import CENTRE_MAX, ParameterSigma
from certrad.models.types.total_variation import CENTRE_QUANTUM, LN_WIDTH_QUANTUM
from certrad.models.types.window_lattice import STEPS, WindowCell, cell

PARAMETERS: Final = 2


@dataclass(frozen=True, slots=True)
class DrawnWindow:
    """The window of one sample.

    Attributes:
        centre: Centre, a multiple of `CENTRE_QUANTUM`.
        ln_width: Logarithm of the width, a multiple of `LN_WIDTH_QUANTUM`: the noise is multiplicative, and no width
            is negative.
    """

    centre: float
    ln_width: float

    @property
    def cell(self) -> WindowCell:
        """Returns the window that is rendered: the cell of the lattice, no narrower than the first above 1.

        At the width 1 the function LINEAR is a step. The clamp is a part of the rendering: drawing again until the
        width is above 1 would make the noise depend on the window of the image. Everything but the last rounding is
        exact, so that every machine renders the same cell.
        """
        j = max(1, math.floor(self.ln_width * STEPS + 0.5))
        return cell(self.centre, WindowCell(j=j, i=0).width)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowNoise:
    """Draws theta + S eps, rounded to a fixed lattice: the windows of the samples of one image.

    Rounding after adding makes a drawn window a function of the real Gaussian mechanism, as it does for pixels: no
    low-order bit tells theta apart from its neighbours.

    Attributes:
        noise: The key and the law of the noise.
        centre: Centre of the window of the image.
        width: Its width.
        sigma: Standard deviations of the noise.
    """

    noise: Noise
    centre: float
    width: float
    sigma: ParameterSigma

    def __post_init__(self) -> None:
        if not (abs(self.centre) <= CENTRE_MAX and 0 < self.width <= CENTRE_MAX):  # also refuses NaN
            raise ValueError(
                f"centre and width must be within {CENTRE_MAX:g}, and the width above 0, got {self.centre!r} and "
                f"{self.width!r}"
            )

    def draw(self, stream: Stream, indices: range) -> Iterator[DrawnWindow]:
        """Yields the window of each sample in turn.

        Args:
            stream: What the noise is for; that of the same sample's pixels.
            indices: The samples.

        Raises:
            ValueError: The stream has none for parameters: an adaptation.
        """
        ln_width = math.log(self.width)
        for on_centre, on_width in _normals(self.noise, ParameterStream(stream | 4), indices):
            yield DrawnWindow(
                centre=_rounded(self.centre + self.sigma.window_centre * on_centre, CENTRE_QUANTUM),
                ln_width=_rounded(ln_width + self.sigma.ln_window_width * on_width, LN_WIDTH_QUANTUM),
            )


def _normals(noise: Noise, stream: ParameterStream, indices: range) -> Iterator[tuple[float, float]]:
    if noise.law in CPU_LAWS:
        for normals in CPU_LAWS[noise.law](noise.key, stream, indices, PARAMETERS):
            yield float(normals[0]), float(normals[1])
        return
    yield from boxmuller(noise.key, stream, indices, PARAMETERS, torch.device("cpu")).tolist()


def _rounded(value: float, quantum: float) -> float:
    """Returns the nearest multiple of a power of two; both operations besides the rounding are exact."""
    return round(value / quantum) * quantum
