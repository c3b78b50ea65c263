"""The rendered image that a model input is made of, for noise on its own pixels."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certrad.models.types.cards import Fit
from certrad.models.types.noise_space import NoisyImage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedImage:
    """All pixels that a model input is made of: after window and region, before resize and copies of a channel.

    Attributes:
        pixels: float64 (channels, rows, columns), channels 1 or 3, in [0, 1], read-only; anything else raises
            ValueError.
    """

    pixels: NDArray[np.float64]

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.float64 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
            raise ValueError(f"a rendered image must be float64 (1 or 3, H, W), got {pixels.dtype} {pixels.shape}")
        if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # also refuses NaN
            raise ValueError("a rendered image must be in [0, 1]")
        pixels.setflags(write=False)

    @classmethod
    def from_bytes(cls, data: bytes, shape: tuple[int, int, int]) -> "RenderedImage":
        """Returns the image whose `tobytes` are these.

        Args:
            data: The bytes.
            shape: (channels, rows, columns).

        Raises:
            ValueError: The bytes are not those of an image of this shape.
        """
        return cls(pixels=np.frombuffer(data, dtype="<f8").reshape(shape))

    def tobytes(self) -> bytes:
        """Returns the pixels in C order, little-endian."""
        return self.pixels.astype("<f8").tobytes()

    def named(self, sides: tuple[int, int], fit: Fit) -> NoisyImage:
        """Returns shape and digest of the image, with the way in which it becomes a model input.

        Args:
            sides: Rows and columns of the whole image, after `region`.
            fit: See `certrad.models.images.model_input.model_input`.
        """
        channels, rows, columns = self.pixels.shape
        return NoisyImage(
            rows=rows,
            columns=columns,
            channels=1 if channels == 1 else 3,
            of_rows=sides[0],
            of_columns=sides[1],
            fit=fit,
            sha256=hashlib.sha256(self.tobytes()).hexdigest(),
        )
