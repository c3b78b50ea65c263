"""The noise of a tuning reaches the model input as noise on the image does."""

import numpy as np
import torch

from certrad.models.images.model_input import image_map
from certrad.models.images.pixel_map import PixelMap
from certrad.models.prompts.training.noise import on_model_input, unit_noise

BATCH = torch.zeros(2, 3, 32, 32)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_noise_on_the_image_is_mapped_as_the_image_is() -> None:
    of_images = image_map((16, 24), 1, 32)
    noise = unit_noise(of_images, 32)(BATCH, generator())
    assert noise.shape == BATCH.shape
    drawn = torch.randn((2, *of_images.shape), generator=generator())
    assert torch.equal(noise, PixelMap.of(of_images, 32).of_tensor(drawn))


def test_noise_on_a_grey_image_is_grey_and_coarser_than_that_on_the_model_input() -> None:
    on_image = unit_noise(image_map((8, 8), 1, 32), 32)(BATCH, generator()).numpy()
    on_input = on_model_input(BATCH, generator()).numpy()
    assert np.array_equal(on_image[:, 0], on_image[:, 2])
    assert not np.array_equal(on_input[:, 0], on_input[:, 2])

    def step(noise: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
        return float(np.abs(np.diff(noise, axis=-1)).mean() / np.abs(noise).mean())

    assert step(on_image) < 0.5 * step(on_input)


def test_without_a_map_noise_is_on_every_value_of_the_model_input() -> None:
    drawn = unit_noise(None, 32)(BATCH, generator())
    assert torch.equal(drawn, torch.randn(BATCH.shape, generator=generator()))
