"""A bank of prompts and the gate that weighs them: one checkpoint, tuned together, fixed before any image is seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.checkpoint_files import adapter_header, header_of
from certrad.models.errors import Rejected
from certrad.models.prompts.context import ContextVectors, text_features
from certrad.models.prompts.gate import Gate
from certrad.models.prompts.rejection import PREFIX, Rejection
from certrad.models.types import AdapterCard
from certrad.models.types.cards import ContextPosition
from certrad.models.types.rejection import known_classes, rejection_index, with_unlike

HEADER: Final = "certrad.bank.v1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bank:
    """B prompts of one shape and layout, and the gate that combines them on each noisy sample.

    Attributes:
        members: at least one prompt; all with the same number of vectors, position and frozen words.
        gate: weighs the members.
        rejection: the extra class, for images unlike those the bank was tuned on; None where the bank has none.
    """

    members: tuple[ContextVectors, ...]
    gate: Gate
    rejection: Rejection | None = None

    def __post_init__(self) -> None:
        if len({(m.vectors.shape, m.position, m.split, m.tail) for m in self.members}) != 1:
            raise ValueError("the prompts of a bank must have one shape and layout")
        if len(self.members) != self.gate.n_members:
            raise ValueError(f"the gate weighs {self.gate.n_members} prompts, the bank has {len(self.members)}")
        if self.rejection is not None and len(self.rejection.features) != len(self.members):
            raise ValueError(f"an extra class needs a feature for each of {len(self.members)} prompts")

    @property
    def n_ctx(self) -> int:
        """The number of vectors in one prompt."""
        return self.members[0].n_ctx

    @property
    def class_specific(self) -> bool:
        """Returns whether every class has vectors of its own."""
        return self.members[0].class_specific

    @property
    def position(self) -> ContextPosition:
        """The position of the vectors relative to the class name."""
        return self.members[0].position

    def text_features(self, backbone: Backbone, class_names: Sequence[str]) -> Tensor:
        """Returns L2-normalised text features (B, K, D) of the class names under every prompt.

        Those of an extra class, which has no text, are the last of the K.

        Raises:
            Rejected: prompt_mismatch, if the names list an extra class that the bank lacks, or lack that of the bank.
        """
        if (rejection_index(class_names) is not None) != (self.rejection is not None):
            has = "has an extra class, which must be the last" if self.rejection else "has no extra class"
            raise Rejected("prompt_mismatch", f"the bank {has}")
        known = known_classes(class_names)
        texts = torch.stack([text_features(backbone, known, member) for member in self.members])
        if self.rejection is None:
            return texts
        return torch.cat([texts, self.rejection.features.to(texts).unsqueeze(1)], dim=1)


def answers(prompt: ContextVectors | Bank | None, class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of all answers under a prompt, in order: the classes, and the extra class of a bank with one.

    Args:
        prompt: The prompt or bank; None for a template.
        class_names: The names of the classes, in order.
    """
    extra = isinstance(prompt, Bank) and prompt.rejection is not None
    return with_unlike(class_names) if extra else tuple(class_names)


def bank_to_bytes(bank: Bank, adapter: AdapterCard | None = None) -> bytes:
    """Returns the bank as a safetensors file; equal banks give equal bytes.

    Args:
        bank: The bank.
        adapter: The adapter of the image tower that it was tuned on; None for the frozen tower.
    """
    first = bank.members[0]
    header = {
        "position": first.position,
        "split": first.split,
        "tail": first.tail,
        "sigma_range": bank.gate.sigma_range,
        **adapter_header(adapter),
    }
    tensors = {f"gate.{name}": tensor.detach().cpu().contiguous() for name, tensor in bank.gate.tensors.items()}
    tensors["context"] = torch.stack([member.vectors.detach().cpu() for member in bank.members])
    if bank.rejection is not None:
        tensors |= {name: tensor.cpu().clone() for name, tensor in bank.rejection.tensors.items()}
    # One metadata entry only: safetensors does not keep the order of several.
    return save(tensors, metadata={HEADER: json.dumps(header, sort_keys=True)})


def bank_from_bytes(content: bytes) -> Bank:
    """Returns the bank in a safetensors file.

    Raises:
        Rejected: invalid_checkpoint where there is none.
    """
    try:
        header = header_of(content, HEADER)
        tensors = load(content)
        contexts = tensors.pop("context")
        low, high = header["sigma_range"]
        first = ContextVectors(
            vectors=contexts[0], position=header["position"], split=header["split"], tail=tuple(header["tail"])
        )
        gate = Gate(
            **{name.removeprefix("gate."): each for name, each in tensors.items() if not name.startswith(PREFIX)},
            sigma_range=(float(low), float(high)),
        )
        members = tuple(replace(first, vectors=vectors) for vectors in contexts)
        return Bank(members=members, gate=gate, rejection=Rejection.from_tensors(tensors))
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Rejected(
            "invalid_checkpoint", f"the content is not a bank of prompts of certrad: {type(error).__name__}"
        ) from error
