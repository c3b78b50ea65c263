"""Noise in the image's own space: the resize and the copy to three channels become part of the base classifier."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.images.resize import AxisResize
from certrad.models.smoothing.sampling import BaseClassifier


class NativeSpaceClassifier:
    """f(T z): classifies an image of any size by the base classifier of its model input; T is linear.

    T resizes the shorter side, crops the centre and copies one channel to three as
    `certrad.models.images.model_input` does,
    but does not clip, so that noise is not bent. Smoothing f(T z) with noise sigma_u on the image u itself certifies
    R_u = sigma_u / 2 (z(p_A) - z(p_B)) on the image: nothing is lost to the norm of T. At the model input that noise
    has covariance sigma_u^2 T T^T: a grey image stays grey under it, and an enlarged one gets no finer grain.

    input_shape: (channels, height, width) of the images, 1 or 3 channels in [0, 1].
    Raises ValueError unless the base classifier takes three channels of a square.
    """

    def __init__(self, base_classifier: BaseClassifier, input_shape: tuple[int, int, int]) -> None:
        channels, height, width = input_shape
        of_model, size, other = base_classifier.input_shape
        if of_model != 3 or size != other:
            raise ValueError(f"a base classifier of (3, S, S) is required, got {base_classifier.input_shape}")
        if channels not in (1, 3):
            raise ValueError(f"images of 1 or 3 channels are required, got {channels}")
        self.base_classifier = base_classifier
        self.input_shape = input_shape
        resizes = [AxisResize.to_centre(n, size * n // min(height, width), size) for n in (height, width)]
        self._read = [slice(axis.samples.start, axis.samples.stop) for axis in resizes]
        self._vertical, self._horizontal = (self._on_device(axis.matrix()) for axis in resizes)

    @property
    def n_classes(self) -> int:
        """K."""
        return self.base_classifier.n_classes

    @property
    def device(self) -> torch.device:
        """Returns where the base classifier computes."""
        return self.base_classifier.device

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of float32 images (B, *input_shape), noise included and unclipped."""
        return self.base_classifier.logits(self.model_inputs(pixels))

    def model_inputs(self, pixels: torch.Tensor) -> torch.Tensor:
        """T z: model inputs (B, 3, S, S) of noisy images (B, *input_shape)."""
        rows, columns = self._read
        square = self._vertical @ pixels[..., rows, columns] @ self._horizontal.T
        return square.expand(-1, 3, -1, -1).contiguous()

    def _on_device(self, matrix: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(matrix.astype(np.float32)).to(self.device)
