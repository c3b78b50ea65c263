"""What a defence is, and how defences are put in front of one another and of a classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

Backward = Literal["exact", "bpda"]
"""What an adaptive attack differentiates: the defence itself, or the identity in its place (BPDA, Athalye 2018)."""

Logits = Callable[[Tensor], Tensor]
"""Pixels (B, 3, S, S) in the units of [0, 1] -> logits (B, K), differentiable."""

Denoise = Callable[[Tensor], Tensor]
"""Noisy pixels (B, 3, S, S), unclipped -> the images under the noise, of the same shape; it adds no noise itself."""


class Purifier(Protocol):
    """A defence in pixel space. It knows neither the clean image nor the attack, and projects onto nobody's ball.

    Where it holds a model, the pixels must be on the device of that model.
    """

    @property
    def name(self) -> str:
        """As tables show it."""

    @property
    def randomised(self) -> bool:
        """Whether the generator has an effect, so that an attack averages over draws."""

    @property
    def backward(self) -> Backward:
        """What its gradient is."""

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Purified pixels of the same shape, of pixels (B, 3, S, S) in the units of [0, 1]."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Several defences, the first of `parts` applied first; exact only where each of them is."""

    parts: tuple[Purifier, ...]

    @property
    def name(self) -> str:
        """The names in their order."""
        return " + ".join(part.name for part in self.parts)

    @property
    def randomised(self) -> bool:
        """Whether any part is."""
        return any(part.randomised for part in self.parts)

    @property
    def backward(self) -> Backward:
        """`exact` where every part is."""
        return "exact" if all(part.backward == "exact" for part in self.parts) else "bpda"

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The pixels after every part."""
        for part in self.parts:
            pixels = part(pixels, generator)
        return pixels


def compose(*purifiers: Purifier) -> Purifier:
    """The defences one after the other, the first one first; one alone is itself."""
    if not purifiers:
        raise ValueError("at least one defence is required, got none")
    return purifiers[0] if len(purifiers) == 1 else Composition(purifiers)


def defended(purifier: Purifier | None, logits: Logits) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Pixels and a generator -> the logits of the purified pixels; None is no defence."""
    if purifier is None:
        return lambda pixels, _: logits(pixels)
    return lambda pixels, generator: logits(purifier(pixels, generator))


def straight_through(pixels: Tensor, purified: Tensor) -> Tensor:
    """`purified` itself, with the gradient of `pixels`: the backward pass is the identity (BPDA)."""
    return cast("Tensor", _StraightThrough.apply(pixels, purified))


def normal(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal noise, drawn where the generator is, so that one seed is one noise on every device."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def resized(pixels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Pixels (B, 3, H, W) at another (height, width), bilinear as the peers do; themselves where it is their own."""
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    return F.interpolate(pixels, size=tuple(size), mode="bilinear", align_corners=False)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, pixels: Tensor, purified: Tensor) -> Tensor:  # noqa: ANN401 - the context of autograd
        return purified.detach().to(pixels.dtype).clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return gradient, None
