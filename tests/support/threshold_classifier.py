"""A linear base classifier whose class probabilities, and so its true radius, are known exactly."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdClassifier:
    """The class is the number of cuts at or below 255 times the first pixel.

    A noisy pixel is k / 255 with k = rint(255 (x + sigma eps)), and k >= cut exactly where x + sigma eps lies above
    (cut - 1/2) / 255: half-spaces of the Gaussian itself, in spite of the rounding.
    """

    cuts: tuple[int, ...]
    input_shape: tuple[int, int, int] = (3, 1, 1)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def n_classes(self) -> int:
        """One more than there are cuts."""
        return len(self.cuts) + 1

    @property
    def edges(self) -> NDArray[np.float64]:
        """Returns where the classes meet, in pixels of [0, 1]."""
        return (np.array(self.cuts) - 0.5) / 255

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """1 for the class, 0 for the others."""
        k = torch.round(pixels[:, 0, 0, 0].double() * 255)
        label = (k[:, None] >= torch.tensor(self.cuts)).sum(dim=1)
        return torch.nn.functional.one_hot(label, self.n_classes).float()

    def image(self, x: float) -> NDArray[np.float64]:
        """An image whose first pixel is x."""
        image = np.full(self.input_shape, 0.5)
        image[0, 0, 0] = x
        return image

    def probabilities(self, x: float, sigma: float) -> NDArray[np.float64]:
        """P(class) under noise at an image whose first pixel is x."""
        below = special.ndtr((self.edges - x) / sigma)
        return np.diff(below, prepend=0.0, append=1.0)

    def true_radius(self, x: float, class_index: int) -> float:
        """Distance from x to where the smoothed classifier leaves `class_index`, negative if it is not there.

        Exact for the two outer classes while those between them are improbable: their half-spaces are equally
        probable where x is midway between the outer edges, for every sigma.
        """
        midway = (self.edges[0] + self.edges[-1]) / 2
        distances = {0: midway - x, self.n_classes - 1: x - midway}
        return float(distances.get(class_index, -np.inf))
