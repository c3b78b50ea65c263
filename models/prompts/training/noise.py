"""The noise of a tuning: added to the model input, or to the rendered images that it is made of."""

from collections.abc import Callable

import torch
from torch import Tensor

from certrad.models.images.pixel_map import PixelMap
from certrad.models.types.noise_space import ImageMap

UnitNoise = Callable[[Tensor, torch.Generator], Tensor]
"""(model inputs (B, 3, S, S), generator) -> noise of standard deviation 1 as it reaches them, of the same shape."""


def on_model_input(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Returns noise on every value of the model inputs."""
    return torch.randn(batch.shape, generator=generator)


def unit_noise(image_map: ImageMap | None, image_size: int) -> UnitNoise:
    """Returns the noise of a tuning.

    The map T from an image to its model input is linear up to its clip, so noise on the image reaches the model input
    as T of the noise: T(u + sigma eps) = T u + sigma T eps.

    Args:
        image_map: How images of one shape become model inputs, for noise on the images; None for noise on the inputs.
        image_size: Side of the model input in pixels.
    """
    if image_map is None:
        return on_model_input
    pixel_map = PixelMap.of(image_map, image_size)

    def on_image(batch: Tensor, generator: torch.Generator) -> Tensor:
        return pixel_map.of_tensor(torch.randn((len(batch), *image_map.shape), generator=generator))

    return on_image
