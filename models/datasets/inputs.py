"""Images of a split as a backbone takes them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.datasets.split import Split
from models.images.picture import fitted
from models.types import BackboneCard


def model_inputs(split: Split, indices: Sequence[int], card: BackboneCard) -> Tensor:
    """Some images of a split, float32 (N, 3, S, S) in [0, 1], resized to the backbone's square as the service does.

    Raises Rejected as `Split.image` does, or image_too_small.
    """
    inputs = [fitted(split.image(index), card.image_size, card.fit).pixels for index in indices]
    return torch.stack([torch.from_numpy(pixels.copy()) for pixels in inputs])
