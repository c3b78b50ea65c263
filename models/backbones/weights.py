"""Weight files: their paths and digests, and loading that accepts neither a missing nor a foreign key."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.types import BackboneCard

PIN_FILE: Final = "pin.json"
VOCABULARY: Final = "vocab.txt"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
CONFIG_FILES: Final = {
    "open_clip": "open_clip_config.json",
    "hf_clip": "config.json",
    "biomedclip": "open_clip_config.json",
    "medclip": VOCABULARY,
}
"""The file without which the weights of each on-disk format mean nothing."""
TOKENIZER_FILES: Final = {"biomedclip": (VOCABULARY, TOKENIZER_CONFIG)}
"""Further files that `certrad fetch` takes from the hub if they exist."""
WEIGHT_FILES: Final = {
    "open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "hf_clip": ("model.safetensors", "pytorch_model.bin"),
    "biomedclip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "medclip": ("model.safetensors", "pytorch_model.bin"),
}
"""The names under which each on-disk format publishes its weights, the preferred one first."""
SHOWN_KEYS: Final = 5


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Writes sorted JSON atomically: readers see the old file or the new one."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(path, text.encode(), private=False)


def pinned(card: BackboneCard, directory: Path) -> BackboneCard:
    """Returns the card with file name and digest of the pin that `certrad fetch` wrote, if there is one.

    A digest in the card itself takes precedence over the pin.
    """
    pin = read_pin(directory)
    return replace(card, weights=pin["weights"], sha256=pin["sha256"]) if pin and card.sha256 is None else card


def read_pin(directory: Path) -> dict[str, str]:
    """Returns the pin that `certrad fetch` wrote beside the weights; empty without one.

    Its keys are `hub`, `revision`, `weights` and `sha256`.
    """
    path = directory / PIN_FILE
    pin: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return pin


def find_weights(card: BackboneCard, directory: Path) -> Path:
    """Returns the weights file of an installed backbone; safetensors is preferred to pickle.

    Raises:
        Rejected: backbone_unavailable when there is none.
    """
    names = (card.weights,) if card.sha256 else (card.weights, *WEIGHT_FILES[card.format])
    for name in names:
        if (path := directory / name).is_file():
            return path
    raise Rejected("backbone_unavailable", f"backbone {card.id!r} has no weights file {card.weights!r} here")


def read_config(card: BackboneCard, directory: Path) -> dict[str, Any]:
    """Returns the configuration beside the weights.

    Raises:
        Rejected: backbone_unavailable when there is none; invalid_weights when it is not JSON.
    """
    return read_json(card, directory, CONFIG_FILES[card.format])


def read_json(card: BackboneCard, directory: Path, name: str) -> dict[str, Any]:
    """Returns the JSON file of that name beside the weights.

    Raises:
        Rejected: backbone_unavailable when there is none; invalid_weights when it is not JSON.
    """
    try:
        config: dict[str, Any] = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Rejected("backbone_unavailable", f"backbone {card.id!r} has no file {name!r} here") from None
    except ValueError as error:
        raise Rejected("invalid_weights", f"{name} of backbone {card.id!r} is not JSON: {error}") from error
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the named tensors of a safetensors file, or of a pickle without running its code (`weights_only`).

    Raises:
        Rejected: invalid_weights for a file that cannot be read or is not a flat dictionary of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise Rejected("invalid_weights", f"{path.name} cannot be read: {type(error).__name__}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise Rejected("invalid_weights", f"{path.name} is not a flat dictionary of tensors")
    return dict(tensors)


def shape_of(tensors: Mapping[str, Tensor], key: str, dimensions: int) -> tuple[int, ...]:
    """Returns the shape of a tensor, from which an architecture is read.

    Raises:
        Rejected: invalid_weights when it is missing or has another number of dimensions.
    """
    if key not in tensors or tensors[key].ndim != dimensions:
        shape = tuple(tensors[key].shape) if key in tensors else "no such tensor"
        raise Rejected("invalid_weights", f"the tensor {key} must have {dimensions} dimensions; got {shape}")
    return tuple(tensors[key].shape)


def count_under(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Returns the number of numbered modules that have tensors under a prefix."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in tensors if key.startswith(prefix)})


def load_strictly(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Gives a module, built on the meta device, its weights in float32.

    Raises:
        Rejected: invalid_weights naming the first missing or foreign keys or differing shapes.
    """
    expected = {key: value.shape for key, value in module.state_dict().items()}
    missing = [key for key in expected if key not in tensors]
    foreign = [key for key in tensors if key not in expected]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in tensors and tensors[key].shape != shape
    ]
    integers = [key for key, value in tensors.items() if not value.is_floating_point()]
    faults = {"missing keys": missing, "foreign keys": foreign, "other shapes": shapes, "not floats": integers}
    if any(faults.values()):
        detail = "; ".join(f"{len(keys)} {name}: {_first(keys)}" for name, keys in faults.items() if keys)
        raise Rejected("invalid_weights", detail)
    module.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True, assign=True)


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN_KEYS]) + (", …" if len(keys) > SHOWN_KEYS else "")
