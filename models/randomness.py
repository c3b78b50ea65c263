"""Seeded random generators."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def seeded(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator of its own for each purpose: what one draws cannot shift what another draws."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


class ImageDraws:
    """Uniform numbers for images: what one image draws, and how often, does not shift what another draws."""

    def __init__(self, generators: Sequence[torch.Generator], device: torch.device) -> None:
        self._generators = generators
        self._device = device

    @staticmethod
    def seeded(images: Tensor, generator: torch.Generator) -> "ImageDraws":
        """One generator for each of the images (B, ...), seeded in their order by `generator`."""
        seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
        return ImageDraws([torch.Generator().manual_seed(seed) for seed in seeds], images.device)

    def of(self, indices: Tensor) -> "ImageDraws":
        """The draws of some of the images, at indices (b,); they go on where they stand."""
        return ImageDraws([self._generators[index] for index in indices.tolist()], self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers (B, *shape) from U[0, 1)."""
        return torch.stack([torch.rand(shape, generator=own) for own in self._generators]).to(self._device)

    def signs(self, *shape: int) -> Tensor:
        """Numbers (B, *shape) that are 1 or -1."""
        return torch.where(self.uniform(*shape) < 0.5, -1.0, 1.0)
