"""Adapters of tiny backbones with random values."""

import torch
from torch import Tensor

from certrad.models.adapters.adapter import Adapter, LowRank
from certrad.models.adapters.checkpoint import adapter_of
from certrad.models.adapters.training.trainer import adaptable_parameters
from certrad.models.backbones.base import Backbone

RANK = 3


def random_changes(
    backbone: Backbone, seed: int = 0, size: float = 0.1
) -> tuple[dict[str, LowRank], dict[str, Tensor]]:
    """Returns a change of every parameter that an adapter can change, large enough to be seen in a feature."""
    generator, tower = torch.Generator().manual_seed(seed), backbone.image_tower

    def normal(*shape: int) -> Tensor:
        return size * torch.randn(shape, generator=generator)

    low_rank, replaced = adaptable_parameters(tower)
    changes = {}
    for name in low_rank:
        rows, columns = tower.get_parameter(name).shape
        changes[name] = LowRank(down=normal(RANK, columns), up=normal(rows, RANK))
    values = {name: tower.get_parameter(name).detach() for name in replaced}
    return changes, {name: value + normal(*value.shape) for name, value in values.items()}


def random_adapter(backbone: Backbone, seed: int = 0, size: float = 0.1) -> Adapter:
    """Returns an adapter of these changes."""
    return adapter_of(*random_changes(backbone, seed, size), name="site", backbone=backbone, sigma_range=(0.1, 1.1))
