"""The state of a training, between two epochs or between two batches."""

from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.errors import Rejected


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WithinEpoch:
    """The state of training within an epoch.

    Attributes:
        losses: (b,) float32, the loss of each batch that is done.
        generator: state of the epoch's generator before the next batch.
    """

    losses: Tensor
    generator: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainerState:
    """Everything that training needs to continue after `epoch` finished epochs.

    Attributes:
        epoch: number of finished epochs.
        loss: mean loss over the last one.
        vectors: the context vectors.
        momentum: the momentum of SGD.
        within: where it stands within the next epoch; None at its beginning.
    """

    epoch: int
    loss: float
    vectors: Tensor
    momentum: Tensor
    within: WithinEpoch | None = None

    def to_bytes(self) -> bytes:
        """Returns the state as a safetensors file."""
        scalars = torch.tensor([self.epoch, self.loss], dtype=torch.float64)
        within = {} if self.within is None else {"losses": self.within.losses, "generator": self.within.generator}
        content: bytes = save({"scalars": scalars, "vectors": self.vectors, "momentum": self.momentum, **within})
        return content

    @staticmethod
    def from_bytes(content: bytes) -> "TrainerState":
        """Returns the state in a safetensors file.

        Raises:
            Rejected: invalid_checkpoint.
        """
        try:
            tensors = load(content)
            epoch, loss = tensors["scalars"].tolist()
            within = None
            if "generator" in tensors:
                within = WithinEpoch(losses=tensors["losses"], generator=tensors["generator"])
            return TrainerState(
                epoch=int(epoch), loss=loss, vectors=tensors["vectors"], momentum=tensors["momentum"], within=within
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise Rejected(
                "invalid_checkpoint", f"the content is not a trainer state: {type(error).__name__}"
            ) from error
