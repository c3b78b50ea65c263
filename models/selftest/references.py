"""The stored references of the self-test: a safetensors file in the package, made by `bench selftest-references`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.selftest.facts import METADATA, REFERENCES, ReferenceFacts, ReferencesError, read_facts
from certrad.models.types import NoiseLaw

_LAWS: Final[tuple[NoiseLaw, ...]] = get_args(NoiseLaw)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class References:
    """The stored references.

    Attributes:
        facts: Everything but tensors.
        phantom: Model input of the shipped DICOM file, float32 (3, S, S).
        images: Stored images on the grid, uint8 (B, 3, S, S).
        features: Image features of `images` and, last, of `phantom`: float32 (B + 1, D), L2-normalised.
        text_features: Text features of the prompt, float32 (K, D), L2-normalised.
        normals: Law -> float64 (indices, 3 * S * S / 16), of the noise key.
    """

    facts: ReferenceFacts
    phantom: Tensor
    images: Tensor
    features: Tensor
    text_features: Tensor
    normals: Mapping[NoiseLaw, Tensor]

    def to_bytes(self) -> bytes:
        """Returns the references as a safetensors file; equal references give equal bytes."""
        tensors: dict[str, Tensor] = {
            "phantom": self.phantom,
            "images": self.images,
            "features": self.features,
            "text_features": self.text_features,
            **{str(law): normals for law, normals in self.normals.items()},
        }
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(contiguous, metadata={METADATA: json.dumps(asdict(self.facts), sort_keys=True)})


def read_references(path: Path = REFERENCES) -> References:
    """Returns the stored references.

    Args:
        path: The file.

    Raises:
        ReferencesError: The file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        facts = read_facts(content)
        tensors = load(content)
        normals: dict[NoiseLaw, Tensor] = {law: tensors[law] for law in _LAWS}
        return References(
            facts=facts,
            phantom=tensors["phantom"],
            images=tensors["images"],
            features=tensors["features"],
            text_features=tensors["text_features"],
            normals=normals,
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise ReferencesError(f"the references of the self-test cannot be read: {type(error).__name__}") from error
