"""Seeded random generators."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def seeded(seed: int, *purpose: str | int) -> torch.Generator:
    """Returns a generator for one purpose: its draws do not shift those for another purpose.

    Args:
        seed: The random seed.
        purpose: Words and numbers that name the purpose.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


class ImageDraws:
    """Uniform numbers for images: the draws of one image do not shift those of another."""

    def __init__(self, generators: Sequence[torch.Generator], device: torch.device) -> None:
        self._generators = generators
        self._device = device

    @staticmethod
    def seeded(images: Tensor, generator: torch.Generator) -> "ImageDraws":
        """Returns draws with one generator for each image, seeded in their order.

        Args:
            images: (B, ...).
            generator: Draws the seeds.
        """
        seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
        return ImageDraws([torch.Generator().manual_seed(seed) for seed in seeds], images.device)

    def of(self, indices: Tensor) -> "ImageDraws":
        """Returns the draws of some of the images; they continue from their present state.

        Args:
            indices: (b,).
        """
        return ImageDraws([self._generators[index] for index in indices.tolist()], self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Returns numbers (B, *shape) from U[0, 1)."""
        return torch.stack([torch.rand(shape, generator=own) for own in self._generators]).to(self._device)

    def signs(self, *shape: int) -> Tensor:
        """Returns numbers (B, *shape) that are 1 or -1."""
        return torch.where(self.uniform(*shape) < 0.5, -1.0, 1.0)
