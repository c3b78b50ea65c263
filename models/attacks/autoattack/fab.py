"""The fast adaptive boundary attack, L-infinity, towards one class (Croce & Hein 2020, "Minimally distorted ...")."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from certrad.models.attacks.losses import Slope

_ALPHA_MAX: Final = 0.1
_BEYOND: Final = 1.05
_BACK: Final = 0.9
_BISECTIONS: Final = 30  # to 1e-9 of the range of a pixel
_NO_ZERO: Final = 1e-8


def fab(
    slope: Callable[[Tensor], Slope],
    margin: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    epsilon: float,
    iterations: int,
) -> Tensor:
    """Returns the nearest misclassified images, moved into the ball where they lie outside: (B, 3, S, S) in [0, 1].

    Each step goes to the nearest point of the linearised boundary, drawn a little towards the original. A misclassified
    point is kept if it is the nearest so far, and the search resumes from nine tenths of the way to it.

    Args:
        slope: returns the target's logit minus the label's, with its gradient, at images (B, 3, S, S).
        margin: returns a value above 0 where an image is misclassified, as any class.
        images: (B, 3, S, S) in [0, 1].
        epsilon: half the side of the L-infinity ball, in pixels of [0, 1].
        iterations: number of steps.
    """
    here, nearest = images, images
    distance = torch.full_like(images[:, 0, 0, 0], torch.inf)
    for _ in range(iterations):
        seen = slope(here)
        missing = -seen.loss.to(images.dtype)
        from_here = _to_plane(here, seen.gradient, missing)
        behind = (seen.gradient * (here - images)).sum(dim=(1, 2, 3))
        from_image = _to_plane(images, seen.gradient, missing + behind)
        near, far = (step.abs().amax(dim=(1, 2, 3)).clamp_min(_NO_ZERO) for step in (from_here, from_image))
        back = (near / (near + far)).clamp_max(_ALPHA_MAX).view(-1, 1, 1, 1)
        here = ((here + _BEYOND * from_here) * (1 - back) + (images + _BEYOND * from_image) * back).clamp(0, 1)
        fooled = margin(here) > 0
        length = (here - images).abs().amax(dim=(1, 2, 3))
        nearer = fooled & (length < distance)
        nearest = torch.where(nearer.view(-1, 1, 1, 1), here, nearest)
        distance = torch.where(nearer, length, distance)
        here = torch.where(fooled.view(-1, 1, 1, 1), images + _BACK * (here - images), here)
    return (images + (nearest - images).clamp(-epsilon, epsilon)).clamp(0, 1)


def _to_plane(points: Tensor, normal: Tensor, missing: Tensor) -> Tensor:
    """Returns the step d, shortest in L-infinity, with ⟨normal, d⟩ = missing (B,) and points + d in [0, 1].

    Every value moves by the same amount, as far as it has room. Where no step is long enough, it is the longest.
    """
    heading = missing.sign().view(-1, 1, 1, 1) * normal.sign()
    room = torch.where(heading > 0, 1 - points, points)
    weight = normal.abs()
    low, high = torch.zeros_like(missing), torch.ones_like(missing)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        reached = (weight * torch.minimum(room, middle.view(-1, 1, 1, 1))).sum(dim=(1, 2, 3)) >= missing.abs()
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return heading * torch.minimum(room, high.view(-1, 1, 1, 1))
