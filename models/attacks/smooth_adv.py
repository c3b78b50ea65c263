"""SmoothAdv (Salman et al. 2019): ascent through the smoothed classifier in an L2 ball, ended on the pixel grid.

Written by hand: the libraries attack one image in [0, 1] through a plain classifier, not the expectation under noise,
and return an image between the grid points, which nobody could send.
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

from certrad.models.types.pixels import WHITE

Logits = Callable[[Tensor], Tensor]
"""Noisy pixels (B, C, H, W) in the units of [0, 1], unclipped -> logits (B, K), differentiable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothAdv:
    """Settings of the attack.

    Attributes:
        steps: steps of gradient ascent.
        draws: noisy copies averaged in each step.
        step: length of a step, in units of the radius.
    """

    steps: int = 25
    draws: int = 32
    step: float = 0.15

    def __post_init__(self) -> None:
        if self.steps < 1 or self.draws < 1:
            raise ValueError(f"steps and draws must be >= 1, got {self.steps!r}, {self.draws!r}")
        if not self.step > 0:
            raise ValueError(f"step must be > 0, got {self.step!r}")


def attack(
    pixels: NDArray[np.uint8],
    logits: Logits,
    *,
    target: int,
    sigma: float,
    radius: float,
    params: SmoothAdv,
    generator: torch.Generator,
) -> NDArray[np.uint8]:
    """Returns the image on the grid, within `radius` of another one, that makes `target` most probable under noise.

    Each step climbs log mean softmax(logits(x + delta + sigma eps))[target] over fresh noise (Salman et al. 2019, eq.
    9, targeted), normalised, projected to the ball and to [0, 1]. The last image is rounded by `nearest_on_grid`.

    Args:
        pixels: (C, H, W) on the grid 0..255.
        logits: returns logits (B, K) of noisy pixels (B, C, H, W), differentiable.
        target: index of the class to reach.
        sigma: standard deviation of the noise, in pixels of [0, 1].
        radius: L2 radius of the ball, in pixels of [0, 1].
        params: settings of the attack.
        generator: draws the noise, on the device the attack runs on.
    """
    device = generator.device
    x = torch.from_numpy(pixels.astype(np.float32) / np.float32(WHITE)).to(device)
    delta = torch.zeros_like(x)
    for _ in range(params.steps):
        delta.requires_grad_(True)
        noise = torch.randn((params.draws, *x.shape), generator=generator, device=device) * sigma
        log_mean = torch.log_softmax(logits(x + delta + noise).float(), dim=-1)[:, target].logsumexp(0)
        (gradient,) = torch.autograd.grad(log_mean, delta)
        moved = delta.detach() + params.step * radius * gradient / gradient.norm().clamp_min(1e-12)
        delta = (x + moved).clamp(0, 1) - x
        delta = delta * min(1.0, radius / max(float(delta.norm()), 1e-12))
    return nearest_on_grid(pixels, delta.double().cpu().numpy() * WHITE, squared_budget(radius))


def nearest_on_grid(pixels: NDArray[np.uint8], delta: NDArray[np.float64], budget: int) -> NDArray[np.uint8]:
    """Returns the image k of the grid with |k - pixels|² <= budget that lies furthest in the direction of `delta`.

    It is the rounding of delta scaled by the largest factor for which it fits: the j-th unit step of coordinate i gains
    |delta_i| and costs 2j - 1, so the steps worth taking are those with |delta_i| / (2j - 1) above a threshold, and
    their number is |delta_i| / (2 threshold) rounded. Rounding delta itself would lengthen it: a coordinate below half
    a grey level vanishes, one above it becomes a whole one.

    Args:
        pixels: (C, H, W) on the grid 0..255.
        delta: (C, H, W), the direction, in units of the grid.
        budget: largest squared L2 distance, in squared units of the grid.
    """

    def scaled(factor: float) -> NDArray[np.int64]:
        steps = np.rint(factor * delta).astype(np.int64)
        return np.clip(steps, -pixels.astype(np.int64), WHITE - pixels.astype(np.int64))

    # At `high` the step of the largest coordinate alone exceeds the budget.
    largest = float(np.abs(delta).max())
    if not 0 < largest < math.inf:  # no direction, or NaN
        return pixels
    low, high = 0.0, (math.isqrt(budget) + 2) / largest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if squared_length(scaled(middle)) <= budget else (low, middle)
    moved: NDArray[np.uint8] = (pixels + scaled(low)).astype(np.uint8)
    return moved


_BISECTIONS: Final = 60  # as many as a float64 has bits


def squared_budget(radius: float) -> int:
    """Returns the largest integer not above (255 radius)², with the radius read as the decimal it is printed as."""
    return math.floor((WHITE * Fraction(repr(radius))) ** 2)


def squared_length(steps: NDArray[np.int64]) -> int:
    """Returns the squared L2 norm of integers, exact."""
    return int((steps * steps).sum())
