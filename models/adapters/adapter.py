"""An adapter, and the backbone with it merged into the weights of its image tower."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.types import AdapterCard


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LowRank:
    """A change of a matrix as a product of two narrow ones (LoRA, Hu et al., ICLR 2022): W' = W + up down.

    Attributes:
        down: (r, in) float32.
        up: (out, r) float32.
    """

    down: Tensor
    up: Tensor

    def __post_init__(self) -> None:
        for name, tensor in (("down", self.down), ("up", self.up)):
            _check_values(name, tensor)
        if self.down.ndim != 2 or self.up.ndim != 2 or self.down.shape[0] != self.up.shape[1] or not self.rank:
            shapes = f"{tuple(self.down.shape)} and {tuple(self.up.shape)}"
            raise ValueError(f"down and up must have the shapes (r, in) and (out, r), got {shapes}")

    @property
    def rank(self) -> int:
        """The rank r."""
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (out, in) of the matrix."""
        return self.up.shape[0], self.down.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """What was trained for the image tower of one backbone.

    Attributes:
        card: The card.
        low_rank: Name of a matrix of the image tower -> its change.
        replaced: Name of another parameter of the image tower -> its new value, float32.
    """

    card: AdapterCard
    low_rank: Mapping[str, LowRank]
    replaced: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if twice := self.low_rank.keys() & self.replaced.keys():
            raise ValueError(f"a parameter must be changed once, got {sorted(twice)!r} in both ways")
        if ranks := {change.rank for change in self.low_rank.values()} - {self.card.rank}:
            raise ValueError(f"every change must have the rank {self.card.rank} of the card, got {sorted(ranks)!r}")
        for name, value in self.replaced.items():
            _check_values(name, value)


def adapted(backbone: Backbone, adapter: Adapter) -> Backbone:
    """Returns the backbone with the adapter merged into a copy of its image tower; the text tower is shared.

    A sample costs what it cost before. A tower of less precision than float32 is changed as it is and rounded again.

    Args:
        backbone: The frozen backbone.
        adapter: The adapter, trained with exactly these weights.

    Raises:
        Rejected: adapter_mismatch for another backbone, other weights, a tower that is adapted already, or a name or
            shape that the tower does not have.
    """
    card = adapter.card
    if backbone.adapter is not None:
        raise Rejected("adapter_mismatch", f"the backbone has the adapter {backbone.adapter.id!r} already")
    if (card.backbone, card.backbone_sha256) != (backbone.card.id, backbone.sha256):
        raise Rejected(
            "adapter_mismatch",
            f"adapter {card.id!r} was trained with the backbone {card.backbone!r} of SHA-256 {card.backbone_sha256}, "
            f"got {backbone.card.id!r} of {backbone.sha256}",
        )
    tower = deepcopy(backbone.image_tower)
    parameters = dict(tower.named_parameters())
    _check_parameters(card, parameters, {name: change.shape for name, change in adapter.low_rank.items()})
    _check_parameters(card, parameters, {name: tuple(value.shape) for name, value in adapter.replaced.items()})
    for name, change in adapter.low_rank.items():
        parameters[name].data.copy_(merged(parameters[name], change))
    for name, value in adapter.replaced.items():
        parameters[name].data.copy_(value)
    return backbone.with_image_tower(tower, card)


def merged(weight: Tensor, change: LowRank) -> Tensor:
    """Returns W + up down in float32 on the CPU, bit for bit the same on every machine.

    A product of two float32 values is exact in float64, and the sum runs over the rank in order. So neither the order
    of a matrix product nor a fused multiplication can change a bit.

    Args:
        weight: W (out, in).
        change: The change.
    """
    total = weight.detach().to("cpu", torch.float64)
    up, down = change.up.to("cpu", torch.float64), change.down.to("cpu", torch.float64)
    for rank in range(change.rank):
        total = total + up[:, rank, None] * down[rank]
    return total.float()


def _check_parameters(card: AdapterCard, parameters: Mapping[str, nn.Parameter], shapes: Mapping[str, object]) -> None:
    for name, shape in shapes.items():
        if name not in parameters or tuple(parameters[name].shape) != shape:
            found = tuple(parameters[name].shape) if name in parameters else "no such parameter"
            raise Rejected(
                "adapter_mismatch", f"adapter {card.id!r} changes {name} of shape {shape}, the tower has {found}"
            )


def _check_values(name: str, tensor: Tensor) -> None:
    if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} must hold finite float32 values, got {tensor.dtype}")
