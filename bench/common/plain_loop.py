"""CERTIFY's sampling as a straightforward loop does it, with the costs of the papers' released code: the yardstick.

Float32; for every batch of 100 the normalisation is undone and done again and the text is encoded anew, each prompt at
the full length of the text tower; the labels are counted one by one.
"""

from collections.abc import Sequence
from typing import Final

import torch
from open_clip.model import CLIP
from torch import Tensor

from certrad.models.backbones.base import Backbone

BATCH_SIZE: Final = 100


@torch.no_grad()
def count_labels(
    model: CLIP,
    image: Tensor,
    prompts: Tensor,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    sigma: float,
    n: int,
) -> list[int]:
    """Returns for each of K prompts how often it is the most similar to one of n noisy copies of an image.

    image: (3, H, W), normalised, as a data loader hands it over. prompts: (K, context length) token ids.
    """
    counts = [0] * len(prompts)
    while n > 0:
        batch = denormalise(image.repeat(min(n, BATCH_SIZE), 1, 1, 1), mean, std)
        n -= len(batch)
        noisy = normalise(batch + torch.randn_like(batch) * sigma, mean, std)
        images = model.encode_image(noisy, normalize=True)
        texts = model.encode_text(prompts, normalize=True)
        logits = model.logit_scale.exp() * images @ texts.T
        for label in logits.argmax(dim=1).cpu().numpy():
            counts[label] += 1
    return counts


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels (B, 3, H, W) of [0, 1] as the model takes them."""
    return (pixels - _per_channel(mean, pixels)) / _per_channel(std, pixels)


def denormalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The inverse of `normalise`."""
    return pixels * _per_channel(std, pixels) + _per_channel(mean, pixels)


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(1, -1, 1, 1)


def full_length_prompts(backbone: Backbone, class_names: Sequence[str], template: str) -> Tensor:
    """Token ids (K, context length) of the class names in the template, padded to the end of the text tower."""
    rows = []
    for name in class_names:
        ids = [backbone.start_token, *backbone.tokenize(template.replace("{}", name)), backbone.end_token]
        rows.append(ids + [0] * (backbone.context_length - len(ids)))
    return torch.tensor(rows)
