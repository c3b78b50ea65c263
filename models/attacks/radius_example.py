"""One example of an image within a certified radius: a change of exactly that L2 norm, towards the runner-up.

It is made to be looked at. The attack that tries to refute certificates is `smooth_adv`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""Noisy pixels (B, C, H, W) in the units of [0, 1], unclipped -> logits (B, K), differentiable."""

_LEVELS: Final = 1 << 14  # of the largest difference: half of what int16 holds, so that it may be lengthened
_NORM_DECIMALS: Final = 8
_BISECTIONS: Final = 24  # of a factor that is near 1: to a millionth
_LONGEST: Final = 2.0**40  # a factor that cuts every value to 0 or 1
_COST: Final = 4.0  # of a noisy copy with its gradient, in copies without one
_COST_OF_HALF_ON_A_CPU: Final = 20.0  # measured with ViT-B/32: 19 in bfloat16, 2.8 in float32


class NoDirectionError(Exception):
    """The margin has no gradient, or one that is not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleParams:
    """Settings of the gradient steps.

    Attributes:
        steps: Steps of gradient ascent.
        draws: Noisy copies averaged in each step.
        step: Length of a step, in units of the radius.
    """

    steps: int = 4
    draws: int = 8
    step: float = 0.5

    @staticmethod
    def within(share: float, samples: int, device: torch.device, dtype: torch.dtype) -> "ExampleParams":
        """Returns settings that take about a share of the time of so many samples at most, if one copy does.

        Args:
            share: The share.
            samples: Samples without a gradient.
            device: Where the classifier computes.
            dtype: The precision in which it does.
        """
        slow = device.type == "cpu" and dtype != torch.float32
        usual, copies = ExampleParams(), int(share * samples / (_COST_OF_HALF_ON_A_CPU if slow else _COST))
        return ExampleParams(
            steps=min(usual.steps, max(1, copies)), draws=min(usual.draws, max(1, copies // usual.steps))
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """A change of an image.

    Attributes:
        runner_up: The class that it leads to.
        steps: (C, H, W) int16, in `unit`.
        unit: A power of two, in pixels of [0, 1].
    """

    runner_up: int
    steps: NDArray[np.int16]
    unit: float

    @property
    def norm(self) -> float:
        """Returns the L2 norm, rounded down to 8 decimals, without an error of floating-point sums."""
        squared = _squared(self.steps) * Fraction(self.unit) ** 2
        return math.isqrt(math.floor(squared * 10 ** (2 * _NORM_DECIMALS))) / 10**_NORM_DECIMALS

    @property
    def max_abs(self) -> float:
        """Returns the largest absolute difference."""
        return int(np.abs(self.steps.astype(np.int64)).max()) * self.unit


def change_within(
    pixels: NDArray[np.float32],
    logits: Logits,
    *,
    class_index: int,
    runner_up: int | None,
    sigma: float,
    radius: float,
    params: ExampleParams,
    generator: torch.Generator,
    device: torch.device,
    on_step: Callable[[], None] | None = None,
) -> Change:
    """Returns a change of L2 norm `radius` that raises the mean logit of the runner-up above that of the class.

    Each step climbs the margin of mean logits over fresh noise and goes back to the sphere, within [0, 1]. The norm is
    never above the radius, and below it by less than a thousandth where [0, 1] leaves room for the direction.

    Args:
        pixels: (C, H, W) in [0, 1].
        logits: Returns logits (B, K) of noisy pixels (B, C, H, W), differentiable.
        class_index: The certified class.
        runner_up: The class to go towards; None for the other class with the largest mean logit under noise.
        sigma: Standard deviation of the noise.
        radius: The norm.
        params: Settings of the steps.
        generator: Draws the noise, on the CPU.
        device: Where the classifier computes.
        on_step: Called before each step; may raise to stop.

    Raises:
        NoDirectionError: There is no direction to go.
    """
    x = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).to(device)

    def noisy(delta: Tensor) -> Tensor:
        noise = torch.randn((params.draws, *x.shape), generator=generator) * sigma
        return logits(x + delta + noise.to(device)).float().mean(dim=0)

    if runner_up is None:
        with torch.no_grad():
            means = noisy(torch.zeros_like(x))
        means[class_index] = -torch.inf
        runner_up = int(means.argmax())
    delta = torch.zeros_like(x)
    for _ in range(params.steps):
        if on_step is not None:
            on_step()
        with torch.enable_grad():
            point = delta.detach().requires_grad_(True)
            means = noisy(point)
            (gradient,) = torch.autograd.grad(means[runner_up] - means[class_index], point)
        length = float(gradient.norm())
        if not 0 < length < math.inf:  # also refuses NaN
            raise NoDirectionError
        delta = _on_sphere(x, delta + params.step * radius / length * gradient, radius)
    return _whole_steps(pixels, delta.double().cpu().numpy(), radius, runner_up)


def _on_sphere(x: Tensor, direction: Tensor, radius: float) -> Tensor:
    """Returns the multiple of a direction, cut to [0, 1], whose norm is the radius, or the longest there is."""

    def cut(factor: float) -> Tensor:
        return (x + factor * direction).clamp(0, 1) - x

    factor = _largest(lambda factor: float(cut(factor).norm()) <= radius)
    return cut(factor)


def _whole_steps(pixels: NDArray[np.float32], delta: NDArray[np.float64], radius: float, runner_up: int) -> Change:
    """Returns the difference in whole steps of a unit: scaled and cut to [0, 1] with a norm of at most the radius."""
    largest = float(np.abs(delta).max())
    if not 0 < largest < math.inf:
        raise NoDirectionError
    unit = 2.0 ** math.ceil(math.log2(largest / _LEVELS))
    # A power of two: the room below and above a float32 pixel is exact in these units.
    low, high = np.ceil(-pixels.astype(np.float64) / unit), np.floor((1 - pixels.astype(np.float64)) / unit)
    low, high = np.maximum(low, -2 * _LEVELS + 1), np.minimum(high, 2 * _LEVELS - 1)
    budget = math.floor((Fraction(repr(radius)) / Fraction(unit)) ** 2)

    def cut(factor: float) -> NDArray[np.int16]:
        return np.clip(np.rint(factor / unit * delta), low, high).astype(np.int16)

    factor = _largest(lambda factor: _squared(cut(factor)) <= budget)
    return Change(runner_up=runner_up, steps=cut(factor), unit=unit)


def _largest(fits: Callable[[float], bool]) -> float:
    """Returns nearly the largest factor that fits, by bisection; what fits must fit at every smaller factor."""
    low, high = 0.0, 1.0
    while high < _LONGEST and fits(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _squared(steps: NDArray[np.int16]) -> int:
    """Returns the squared L2 norm of whole numbers, exact."""
    wide = steps.astype(np.int64)
    return int((wide * wide).sum())
