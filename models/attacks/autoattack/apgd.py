"""Auto-PGD (Croce & Hein 2020, ICML, section 3): projected gradient ascent that chooses its step size itself."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from certrad.models.attacks.losses import Slope
from certrad.models.randomness import ImageDraws

_MOMENTUM: Final = 0.25
_RHO: Final = 0.75
"""The share of steps between two checkpoints that must raise the loss for the step size to stay."""


def apgd(
    slope: Callable[[Tensor], Slope], images: Tensor, *, epsilon: float, iterations: int, draws: ImageDraws
) -> Tensor:
    """Returns the visited image of the largest margin, for each image: (B, 3, S, S), in [0, 1] and in the epsilon ball.

    An image's step begins at 2 epsilon. It is halved at a checkpoint if the loss rose in too few steps, or if its best
    value did not rise since the last checkpoint; the search then resumes from the best image so far.

    Args:
        slope: returns loss, gradient and margin at adversarial images (B, 3, S, S).
        images: (B, 3, S, S) in [0, 1].
        epsilon: half the side of the L-infinity ball, in pixels of [0, 1].
        iterations: number of gradient steps.
        draws: random numbers of each image, for the start.
    """
    low, high = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    here = torch.clamp(images + epsilon * (2 * draws.uniform(*images.shape[1:]) - 1), low, high)
    before, seen = here, slope(here)
    best, best_seen = here, seen
    strongest, strongest_margin = here, seen.margin
    step = torch.full_like(seen.loss, 2 * epsilon, dtype=images.dtype)
    rises = torch.zeros_like(seen.loss)
    halved, best_at_last = torch.ones_like(rises, dtype=torch.bool), seen.loss
    checkpoints = _checkpoints(iterations)
    last = 0
    for iteration in range(1, iterations + 1):
        ahead = torch.clamp(here + _per_image(step) * seen.gradient.sign(), low, high)
        if iteration > 1:
            ahead = torch.clamp(here + (1 - _MOMENTUM) * (ahead - here) + _MOMENTUM * (here - before), low, high)
        before, here, previous = here, ahead, seen
        seen = slope(here)
        rises += seen.loss > previous.loss
        best, best_seen = _where(seen.loss > best_seen.loss, (here, seen), (best, best_seen))
        fools_more = seen.margin > strongest_margin
        strongest = torch.where(_per_image(fools_more), here, strongest)
        strongest_margin = torch.where(fools_more, seen.margin, strongest_margin)
        if iteration in checkpoints:
            stuck = ~halved & (best_seen.loss <= best_at_last)
            halved = (rises < _RHO * (iteration - last)) | stuck
            step = torch.where(halved, step / 2, step)
            here, seen = _where(halved, (best, best_seen), (here, seen))
            best_at_last, rises, last = best_seen.loss, torch.zeros_like(rises), iteration
    return strongest


def _checkpoints(iterations: int) -> set[int]:
    """Returns the checkpoints: after 22% of the iterations, then at distances that shrink by 3% down to 6%."""
    distance, shrink, shortest = (max(int(share * iterations), 1) for share in (0.22, 0.03, 0.06))
    points, point = set(), distance
    while point <= iterations:
        points.add(point)
        distance = max(distance - shrink, shortest)
        point += distance
    return points


def _where(chosen: Tensor, yes: tuple[Tensor, Slope], no: tuple[Tensor, Slope]) -> tuple[Tensor, Slope]:
    """Returns images and slope from `yes` where `chosen` (B,) is true, from `no` elsewhere."""
    wide = _per_image(chosen)
    seen = Slope(
        gradient=torch.where(wide, yes[1].gradient, no[1].gradient),
        loss=torch.where(chosen, yes[1].loss, no[1].loss),
        margin=torch.where(chosen, yes[1].margin, no[1].margin),
    )
    return torch.where(wide, yes[0], no[0]), seen


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
