"""Denoised Smoothing (Salman et al. 2020) and Diffusion Smoothing (Carlini et al. 2023): a denoiser inside."""

import torch
from torch import Tensor

from certrad.models.defences.purifier import Denoise
from certrad.models.smoothing import BaseClassifier


class DenoisedClassifier:
    """f(D(z)): the base classifier of the denoised sample, to be smoothed with the noise that D was made for.

    Attributes:
        base_classifier: f.
        denoise: D, a `DnCnn` of that sigma for Denoised Smoothing, `one_shot(model, sigma)` for Diffusion Smoothing. It
            draws nothing, so f(D(z)) is a fixed function of the noisy image and its certificate holds for every input.
    """

    def __init__(self, base_classifier: BaseClassifier, denoise: Denoise) -> None:
        self.base_classifier = base_classifier
        self.denoise = denoise

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input."""
        return self.base_classifier.input_shape

    @property
    def n_classes(self) -> int:
        """K."""
        return self.base_classifier.n_classes

    @property
    def device(self) -> torch.device:
        """The device on which the base classifier computes."""
        return self.base_classifier.device

    def logits(self, pixels: Tensor) -> Tensor:
        """Returns logits (B, K) of noisy pixels (B, 3, S, S), unclipped."""
        return self.base_classifier.logits(self.denoise(pixels))
