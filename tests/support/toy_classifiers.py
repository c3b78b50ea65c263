"""Classifiers small enough that what an attack must find on them is known.

What draws nothing computes in float64: attacks follow the signs of gradients, and in float32 the sign of one near zero
is that of its rounding, which is another beside other images and on other processors.
"""

import torch
from torch import Tensor, nn

from certrad.models.attacks.base import Classify


def linear(*, n_classes: int, side: int = 32, seed: int = 0, scale: float = 1.0) -> tuple[Classify, Tensor]:
    """Logits linear in the pixels, equal on grey images, and the weights (K, 3, S, S)."""
    weights = scale * torch.randn(n_classes, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return (lambda images, _: torch.einsum("bchw,kchw->bk", images.double() - 0.5, weights.double())), weights


def shifting(*, noise: float, side: int = 8) -> tuple[Classify, Tensor]:
    """Two classes behind a randomised defence that draws other weights for every image, and the sign (3, S, S) of the
    mean direction from class 0 to class 1.

    noise: standard deviation of a weight, whose mean is 1 or -1.
    """
    direction = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0)).sign()

    def classify(images: Tensor, generator: torch.Generator) -> Tensor:
        drawn = direction + noise * torch.randn(images.shape, generator=generator)
        towards_one = (drawn * (images - 0.5)).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(towards_one), towards_one], dim=1)

    return classify, direction


class Float64(nn.Module):
    """A network that takes its images in float64."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers.double()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images.double())
        return logits


def network(*, n_classes: int, seed: int = 0, side: int = 16) -> nn.Module:
    """A small convolutional network with random weights, smooth and far from linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2),
            nn.Tanh(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(n_classes),
        )
        layers(torch.zeros(1, 3, side, side))
    return Float64(layers).requires_grad_(False).train(False)
