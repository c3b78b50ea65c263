"""Banks whose prompts and gate are kept, and the training images that none of them learned from."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import load_prompt_or_bank, require_backbone
from certrad.models.randomness import seeded
from certrad.models.types import PromptCard
from certrad.models.types.defaults import require_adapter

OTHERS: Final = 150
"""Images of each class on which the threshold of the extra class is set, and as many on which it is measured."""


def kept(backbone: Backbone, card: PromptCard, folder: Path) -> Bank:
    """Returns the bank of a card, which must go with the encoder.

    Raises:
        Rejected: It goes with another encoder.
        ValueError: It is no bank.
    """
    require_backbone(card, backbone)
    require_adapter(card, None if backbone.adapter is None else backbone.adapter.sha256)
    bank = load_prompt_or_bank(folder, card)
    if not isinstance(bank, Bank):
        raise ValueError(f"{card.id} is no bank")
    return bank


def other_images(labels: Tensor, shots: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the indices of random images of every class that are no shots, in two parts of equal size.

    Args:
        labels: (N,).
        shots: Indices of the shots.
        seed: Random seed.
    """
    generator, free = seeded(seed, "others"), torch.ones(len(labels), dtype=torch.bool)
    free[shots] = False
    parts: list[list[Tensor]] = [[], []]
    for label in sorted(set(labels.tolist())):
        items = torch.nonzero(free & (labels == label)).flatten()
        chosen = items[torch.randperm(len(items), generator=generator)[: 2 * OTHERS]]
        for part, half in zip(parts, chosen.tensor_split(2), strict=True):
            part.append(half)
    return torch.cat(parts[0]), torch.cat(parts[1])
