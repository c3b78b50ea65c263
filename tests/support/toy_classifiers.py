"""Classifiers small enough that what an attack must find on them is known."""

import torch
from torch import Tensor, nn

from models.attacks.attack import Classify


def linear(*, n_classes: int, side: int = 32, seed: int = 0, scale: float = 1.0) -> tuple[Classify, Tensor]:
    """Logits linear in the pixels, equal on grey images, and the weights (K, 3, S, S)."""
    weights = scale * torch.randn(n_classes, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return (lambda images, _: torch.einsum("bchw,kchw->bk", images - 0.5, weights)), weights


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


def network(*, n_classes: int, seed: int = 0, side: int = 16) -> nn.Module:
    """A small convolutional network with random weights, smooth and far from linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2),
            nn.Tanh(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(n_classes),
        )
        model(torch.zeros(1, 3, side, side))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.train(False)
