"""Random resizing and padding (Xie et al. 2018): the classifier never sees the pixel grid that was attacked."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.defences.purifier import Backward, resize

PUBLISHED_INPUT: Final = 299
PUBLISHED_LOW: Final = 310
PUBLISHED_PADDED: Final = 331
"""Xie et al. (ICLR 2018): an input of 299 is resized to U[310, 331) and padded to 331."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomResizing:
    """Resizes each image to a random side of [low, padded), and pads it at a random place with black to `padded`.

    The result is resized back to its original size, which the backbone takes; AdvPT states neither that step nor the
    sides. Bilinear throughout. Each image draws its own side and place.

    Attributes:
        low: smallest side, in pixels.
        padded: side after padding, in pixels.
    """

    low: int
    padded: int

    def __post_init__(self) -> None:
        if not 1 <= self.low < self.padded:
            raise ValueError(f"low must be >= 1 and below padded, got low={self.low!r}, padded={self.padded!r}")

    @staticmethod
    def proportional(side: int) -> "RandomResizing":
        """Returns the published proportions for an input of that side: 232 and 248 at 224."""
        low, padded = (round(side * published / PUBLISHED_INPUT) for published in (PUBLISHED_LOW, PUBLISHED_PADDED))
        return RandomResizing(low=low, padded=padded)

    @property
    def name(self) -> str:
        """The name for tables."""
        return "rescale"

    @property
    def randomised(self) -> bool:
        """True: it draws side and place."""
        return True

    @property
    def backward(self) -> Backward:
        """`exact`, for the side and place drawn."""
        return "exact"

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Returns each image resized, padded and resized back."""
        return torch.cat([self._resize_and_pad(image, generator) for image in torch.split(pixels, 1)])

    def _resize_and_pad(self, image: Tensor, generator: torch.Generator) -> Tensor:
        side = _draw(self.low, self.padded, generator)
        top, left = (_draw(0, self.padded - side + 1, generator) for _ in range(2))
        bottom, right = self.padded - side - top, self.padded - side - left
        padded = F.pad(resize(image, (side, side)), (left, right, top, bottom))
        return resize(padded, image.shape[-2:])


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    """Returns a random integer of [low, high)."""
    return int(torch.randint(low, high, (), generator=generator, device=generator.device))
