"""The interface of defences, and their composition with one another and with a classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

Backward = Literal["exact", "bpda"]
"""The function that an adaptive attack differentiates: the defence, or the identity instead (BPDA, Athalye 2018)."""

Logits = Callable[[Tensor], Tensor]
"""Pixels (B, 3, S, S) in the units of [0, 1] -> logits (B, K), differentiable."""

Denoise = Callable[[Tensor], Tensor]
"""Noisy pixels (B, 3, S, S), unclipped -> the images under the noise, of the same shape; it adds no noise itself."""


class Purifier(Protocol):
    """A defence in pixel space.

    It knows neither the clean image nor the attack, and does not project onto the attack's ball. If it holds a model,
    the pixels must be on the device of that model.
    """

    @property
    def name(self) -> str:
        """The name for tables."""

    @property
    def randomised(self) -> bool:
        """Returns whether the generator has an effect, so that an attack averages over draws."""

    @property
    def backward(self) -> Backward:
        """The kind of its gradient."""

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Returns purified pixels, of the same shape as pixels (B, 3, S, S) in the units of [0, 1]."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Several defences, the first of `parts` applied first; exact only if each of them is.

    Attributes:
        parts: the defences, in order.
    """

    parts: tuple[Purifier, ...]

    @property
    def name(self) -> str:
        """The names in their order."""
        return " + ".join(part.name for part in self.parts)

    @property
    def randomised(self) -> bool:
        """Returns whether any part is randomised."""
        return any(part.randomised for part in self.parts)

    @property
    def backward(self) -> Backward:
        """`exact` if every part is exact, else `bpda`."""
        return "exact" if all(part.backward == "exact" for part in self.parts) else "bpda"

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the pixels after every part."""
        for part in self.parts:
            pixels = part(pixels, generator)
        return pixels


def compose(*purifiers: Purifier) -> Purifier:
    """Returns the defences one after the other, the first one first; a single one is returned itself.

    Raises:
        ValueError: if there is no defence.
    """
    if not purifiers:
        raise ValueError("compose needs at least one defence; got none")
    return purifiers[0] if len(purifiers) == 1 else Composition(purifiers)


def defend(purifier: Purifier | None, logits: Logits) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Returns a function of pixels and a generator to the logits of the purified pixels; None is no defence."""
    if purifier is None:
        return lambda pixels, _: logits(pixels)
    return lambda pixels, generator: logits(purifier(pixels, generator))


def straight_through(pixels: Tensor, purified: Tensor) -> Tensor:
    """Returns `purified` with the gradient of `pixels`: the backward pass is the identity (BPDA)."""
    return cast("Tensor", _StraightThrough.apply(pixels, purified))


def normal_noise(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    """Returns standard normal noise, drawn on the generator's device: a seed gives the same noise on every device."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def resize(pixels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Returns pixels (B, 3, H, W) at another (height, width), bilinear as the peers do; unchanged at the same size."""
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
