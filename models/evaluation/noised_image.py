"""What the noise of an evaluation is added to."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.images.model_input import ModelInput, rendered_part
from certrad.models.types.cards import Fit
from certrad.models.types.noise_space import ImageMap, NoiseSpace

RENDERED: Final = "noise on the rendered image: σ and R are on it before its resize, pixels in [0, 1]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisedImage:
    """What noise is added to: a model input, or the rendered image that it is made of.

    Attributes:
        pixels: float32 (3, S, S) of a model input, float64 (channels, rows, columns) of a rendered image; in [0, 1].
        map: how the rendered image becomes the model input; None for a model input.
    """

    pixels: NDArray[Any]
    map: ImageMap | None = None

    @staticmethod
    def of(seen: ModelInput, pixels: NDArray[np.float64], fit: Fit, space: NoiseSpace) -> "NoisedImage":
        """Returns what the noise of a space is added to.

        Args:
            seen: the model input of the image.
            pixels: the rendered image, (height, width, 1 or 3) in [0, 1].
            fit: how the image became a square.
            space: `model_input` or `image`.
        """
        if space == "model_input":
            return NoisedImage(pixels=seen.pixels)
        part = rendered_part(pixels, seen.pixels.shape[1], fit)
        return NoisedImage(pixels=part.pixels, map=part.named((pixels.shape[0], pixels.shape[1]), fit).map)
