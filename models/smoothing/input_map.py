"""A map that noisy images go through before the classifier, as the sampler sees it."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class InputMap(Protocol):
    """A fixed map from noisy images to inputs of the base classifier, of which it is then a part.

    It maps each image by itself, so that no input depends on the companions of its image in a batch.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns (channels, height, width) of an input."""

    def of_array(self, pixels: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Returns the input of one image (C, H, W), in this thread."""

    def of_tensor(self, pixels: Tensor, /) -> Tensor:
        """Returns the inputs of images (B, C, H, W), on their device."""

    def tensors(self, device: torch.device, /) -> Iterable[Tensor]:
        """Returns what `of_tensor` reads on a device beside the images; it is moved there once."""
