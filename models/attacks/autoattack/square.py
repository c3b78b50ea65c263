"""The Square Attack, L-infinity (Andriushchenko et al. 2020): random search with squares; it needs no gradient."""

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from certrad.models.randomness import ImageDraws

_FIRST_SHARE: Final = 0.8
"""Share of the pixels of an image that the first squares cover."""
_HALVED_AFTER: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share is halved; AutoAttack does not stretch this schedule to its 5,000."""


def square(
    margin: Callable[[Tensor, Tensor], Tensor], images: Tensor, *, epsilon: float, queries: int, draws: ImageDraws
) -> Tensor:
    """Returns the images of the largest margin among those tried: (B, 3, S, S), within epsilon of `images`, in [0, 1].

    Args:
        margin: takes images (b, 3, S, S) and their indices (b,) among the B; returns (b,), above 0 where misclassified.
            Misclassified images are not searched further.
        images: (B, 3, S, S) in [0, 1].
        epsilon: half the side of the L-infinity ball, in pixels of [0, 1].
        queries: the most queries for each image; the first one tries stripes.
        draws: random numbers of each image.
    """
    _, channels, height, width = images.shape
    best = (images + epsilon * draws.signs(channels, 1, width)).clamp(0, 1)
    best_margin = margin(best, torch.arange(len(images), device=images.device))
    for query in range(1, queries):  # the stripes were the first
        remaining = (~(best_margin > 0)).nonzero().flatten()
        if not len(remaining):
            break
        side = _side(query, height, width)
        change = 2 * epsilon * _squares(draws.of(remaining), channels, height, width, side)
        proposed = images[remaining] + (best[remaining] + change - images[remaining]).clamp(-epsilon, epsilon)
        proposed = proposed.clamp(0, 1)
        proposed_margin = margin(proposed, remaining)
        better = proposed_margin > best_margin[remaining]
        best[remaining[better]] = proposed[better]
        best_margin[remaining[better]] = proposed_margin[better]
    return best


def _side(query: int, height: int, width: int) -> int:
    share = _FIRST_SHARE / 2 ** bisect_left(_HALVED_AFTER, query)
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def _squares(draws: ImageDraws, channels: int, height: int, width: int, side: int) -> Tensor:
    """Returns one square of ones or minus ones in each channel, at a random place in each image, on zeros."""
    drawn = draws.uniform(2 + channels)
    top, left = ((drawn[:, i] * (size - side + 1)).long().view(-1, 1, 1, 1) for i, size in ((0, height), (1, width)))
    rows = torch.arange(height, device=drawn.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=drawn.device).view(1, 1, 1, -1)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return inside * torch.where(drawn[:, 2:] < 0.5, -1.0, 1.0).view(-1, channels, 1, 1)
