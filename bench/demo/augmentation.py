"""Ordinary augmentation of clean images, with a record of what was done so that a caption can say it.

No noise and no blur on purpose: the demonstration model must meet Gaussian noise for the first time at certification.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges from which every image draws its own transformation."""

    smallest_zoom: float = 0.6
    """Smallest side of the crop, as a fraction of the image side."""
    largest_tilt: float = 15.0
    """Largest rotation in degrees, on top of whole quarter turns."""
    turned_share: float = 0.2
    """Share of images that get one of the three quarter turns."""
    gamma: float = 0.35
    """Largest absolute logarithm of the gamma exponent."""
    contrast: float = 0.35
    """Largest absolute logarithm of the contrast factor."""
    brightness: float = 0.15
    """Largest absolute shift of the pixels."""


@dataclass(frozen=True)
class AugmentedBatch:
    """An augmented batch of images, and the parameters of the augmentation."""

    images: Tensor
    """Grey, in [0,1], shape (n, 1, h, w)."""
    turns: Tensor
    """Quarter turns, counted before the mirror: a mirrored image shows one and three the other way round."""
    zoom: Tensor
    """Side of the crop, as a fraction of the image side."""


def augment(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> AugmentedBatch:
    """Returns every image cropped, turned, mirrored and toned by its own random draw.

    Args:
        images: Grey images in [0,1], shape (n, 1, h, w).
        config: The ranges.
        generator: The only source of randomness.
    """
    count = len(images)
    zoom = 1 - (1 - config.smallest_zoom) * torch.rand(count, generator=generator)
    turned = torch.rand(count, generator=generator) < config.turned_share
    turns = torch.where(turned, torch.randint(1, 4, (count,), generator=generator), torch.zeros(count).long())
    moved = _move(images, zoom, turns, config.largest_tilt, generator)
    return AugmentedBatch(_tone(moved, config, generator), turns, zoom)


def _move(images: Tensor, zoom: Tensor, turns: Tensor, largest_tilt: float, generator: torch.Generator) -> Tensor:
    count = len(images)
    tilt = math.radians(largest_tilt) * _symmetric((count,), generator)
    angle = tilt + turns * (math.pi / 2)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shift = (1 - zoom).unsqueeze(1) * _symmetric((count, 2), generator)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    rows = (torch.stack([cosine * mirror, -sine, shift[:, 0]], 1), torch.stack([sine * mirror, cosine, shift[:, 1]], 1))
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _tone(images: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    shape = (len(images), 1, 1, 1)
    gamma = (config.gamma * _symmetric(shape, generator)).exp()
    contrast = (config.contrast * _symmetric(shape, generator)).exp()
    brightness = config.brightness * _symmetric(shape, generator)
    toned: Tensor = images.clamp(min=1e-4).pow(gamma) * contrast + brightness
    return toned.clamp(0, 1)


def _symmetric(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1
