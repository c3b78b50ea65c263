"""RAP: adversarial images that transfer, because reverse perturbations do not undo them (Qin et al. 2022, NeurIPS).

This black-box attack climbs on a surrogate and knows nothing of the classifier evaluated on its images. The settings
are those of AdvPT's evaluation: MaxLogit, diverse inputs, late start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.base import Attack
from certrad.models.randomness import ImageDraws

Surrogate = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) in [0, 1] -> logits (B, K), differentiable; a row depends on its own image only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RapParams:
    """Settings of RAP; sizes are in pixels of [0, 1].

    Attributes:
        epsilon: half the side of the L-infinity ball.
        step: length of a step.
        iterations: number of steps.
        late_start: the iteration from which the image is attacked at the point to which a reverse perturbation has
            moved it; with `late_start` = `iterations` it is the attack without RAP.
        reverse_epsilon: half the side of the ball of the reverse perturbation.
        reverse_steps: steps of the projected descent that looks for it.
        diversity: probability that the surrogate sees the image shrunk, by half at most, and padded with black.
    """

    epsilon: float = 16 / 255
    step: float = 2 / 255
    iterations: int = 400
    late_start: int = 100
    reverse_epsilon: float = 16 / 255
    reverse_steps: int = 8
    diversity: float = 0.7

    def __post_init__(self) -> None:
        for name in ("epsilon", "step", "reverse_epsilon"):
            if not 0 < getattr(self, name) <= 1:  # also refuses NaN
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name)!r}")
        if min(self.iterations, self.reverse_steps) < 1 or self.late_start < 0:
            raise ValueError("iterations and reverse_steps must be >= 1, late_start >= 0")
        if not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity must be in [0, 1], got {self.diversity!r}")


def rap(surrogate: Surrogate, params: RapParams) -> Attack:
    """Returns the attack on `surrogate`.

    The images of a batch are shrunk alike, as in the released code: other batches give other images.
    """

    def attack(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        images, labels = images.detach().float(), labels.to(images.device)
        shapes = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        draws = ImageDraws.seeded(images, generator)
        low, high = (images - params.epsilon).clamp(0, 1), (images + params.epsilon).clamp(0, 1)
        here = torch.clamp(images + params.epsilon * (2 * draws.uniform(*images.shape[1:]) - 1), low, high)
        for iteration in range(params.iterations):
            moved = _reverse(surrogate, here, labels, params, draws) if iteration >= params.late_start else here
            gradient = _gradient(
                lambda pixels: _true_logits(surrogate(_diversify(pixels, params, shapes)), labels), moved
            )
            here = torch.clamp(here - params.step * gradient.sign(), low, high)
        return here

    return attack


def _reverse(surrogate: Surrogate, images: Tensor, labels: Tensor, params: RapParams, draws: ImageDraws) -> Tensor:
    """Returns the images moved to where the true label is likeliest nearby: the attack must withstand this."""
    epsilon = params.reverse_epsilon
    low, high = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    moved = torch.clamp(images + epsilon * (2 * draws.uniform(*images.shape[1:]) - 1), low, high)
    for _ in range(params.reverse_steps):
        gradient = _gradient(lambda pixels: _label_losses(surrogate(pixels), labels), moved)
        moved = torch.clamp(moved - epsilon / params.reverse_steps * gradient.sign(), low, high)
    return moved


def _true_logits(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels.to(logits.device).unsqueeze(1)).squeeze(1)


def _label_losses(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels.to(logits.device), reduction="none")


def _gradient(loss: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    point = images.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        return torch.autograd.grad(loss(point).sum(), point)[0]


def _diversify(images: Tensor, params: RapParams, shapes: torch.Generator) -> Tensor:
    """Returns the images, or with probability `diversity` shrunk to a random side in [S/2, S) and padded to S."""
    side = images.shape[-1]
    small = _whole(side // 2, side, shapes)
    left, top = _whole(0, side - small + 1, shapes), _whole(0, side - small + 1, shapes)
    if float(torch.rand((), generator=shapes)) >= params.diversity:
        return images
    shrunk = F.interpolate(images, size=(small, small))
    return F.pad(shrunk, (left, side - small - left, top, side - small - top))


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=generator))
