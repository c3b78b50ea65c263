"""What an adapter gains, measured without labels: how near noisy features come to those of the clean images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.adapters.training.trainer import clean_directions
from certrad.models.backbones.base import Backbone
from certrad.models.randomness import seeded

SIGMAS = (0.0, 0.25, 0.5, 1.0)
"""The noise levels that a card records; 0 says how far the adapter moves clean images."""

_ENCODED_TOGETHER = 64


def feature_agreement(
    frozen: Backbone, changed: Backbone, images: Tensor, *, seed: int, sigmas: Sequence[float] = SIGMAS
) -> dict[str, Any]:
    """Returns the mean cosine between the frozen tower's clean features and noisy features, for a card.

    Args:
        frozen: The backbone without the adapter.
        changed: The backbone with it.
        images: (N, 3, S, S) float32, none of which the adapter was trained on; at least one.
        seed: Random seed of the noise: one noisy copy of each image at each level, the same for both towers.
        sigmas: The noise levels.
    """
    targets = clean_directions(frozen, images)
    rows = []
    for sigma in sigmas:
        noise = torch.randn(images.shape, generator=seeded(seed, "agreement", repr(sigma)))
        noisy = images + sigma * noise
        row = {"sigma": sigma, "frozen": _cosine(frozen, noisy, targets), "adapted": _cosine(changed, noisy, targets)}
        rows.append(row)
    return {"images": len(images), "seed": seed, "mean_cosine": rows}


@torch.no_grad()
def _cosine(backbone: Backbone, noisy: Tensor, targets: Tensor) -> float:
    parts = zip(torch.split(noisy, _ENCODED_TOGETHER), torch.split(targets, _ENCODED_TOGETHER), strict=True)
    cosines = [
        F.cosine_similarity(backbone.encode_image(part).float(), target, dim=-1).double() for part, target in parts
    ]
    return round(float(torch.cat(cosines).mean()), 6)
