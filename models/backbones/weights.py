"""Weight files: where they are, their digests, and loading that accepts neither a missing nor a foreign key."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.types import BackboneCard

PIN_FILE = "pin.json"
VOCABULARY = "vocab.txt"
TOKENIZER_CONFIG = "tokenizer_config.json"
CONFIG_FILES = {
    "open_clip": "open_clip_config.json",
    "hf_clip": "config.json",
    "biomedclip": "open_clip_config.json",
    "medclip": VOCABULARY,
}
"""The file without which the weights of each on-disk format mean nothing."""
TOKENIZER_FILES = {"biomedclip": (VOCABULARY, TOKENIZER_CONFIG)}
"""What else `certrad fetch` takes from the hub where it is there."""
WEIGHT_FILES = {
    "open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "hf_clip": ("model.safetensors", "pytorch_model.bin"),
    "biomedclip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "medclip": ("model.safetensors", "pytorch_model.bin"),
}
"""The names under which each on-disk format publishes its weights, the preferred one first."""
SHOWN_KEYS = 5


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write sorted JSON atomically: readers see the old file or the new one."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(path, text.encode(), private=False)


def pinned(card: BackboneCard, directory: Path) -> BackboneCard:
    """The card with file name and digest of the pin that `certrad fetch` left in `directory`, if there is one.

    A digest in the card itself stands above the pin.
    """
    pin = read_pin(directory)
    return replace(card, weights=pin["weights"], sha256=pin["sha256"]) if pin and card.sha256 is None else card


def read_pin(directory: Path) -> dict[str, str]:
    """What `certrad fetch` left beside the weights: `hub`, `revision`, `weights`, `sha256`; empty without a pin."""
    path = directory / PIN_FILE
    pin: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return pin


def find_weights(card: BackboneCard, directory: Path) -> Path:
    """The weights file of an installed backbone; safetensors stands above pickle.

    Raises `backbone_unavailable` when there is none.
    """
    names = (card.weights,) if card.sha256 else (card.weights, *WEIGHT_FILES[card.format])
    for name in names:
        if (path := directory / name).is_file():
            return path
    raise Rejected("backbone_unavailable", f"backbone {card.id!r} has no weights file {card.weights!r} here")


def read_config(card: BackboneCard, directory: Path) -> dict[str, Any]:
    """The configuration that lies beside the weights; `backbone_unavailable` when there is none."""
    return read_json(card, directory, CONFIG_FILES[card.format])


def read_json(card: BackboneCard, directory: Path, name: str) -> dict[str, Any]:
    """The JSON file of that name beside the weights; `backbone_unavailable` when there is none."""
    try:
        config: dict[str, Any] = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Rejected("backbone_unavailable", f"backbone {card.id!r} has no file {name!r} here") from None
    except ValueError as error:
        raise Rejected("invalid_weights", f"{name} of backbone {card.id!r} is not JSON: {error}") from error
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file or of a pickle read with `weights_only`; no code of the file runs."""
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
    """The shape of a tensor from which an architecture is read; `invalid_weights` when it is not there or not so."""
    if key not in tensors or tensors[key].ndim != dimensions:
        found = tuple(tensors[key].shape) if key in tensors else "nothing"
        raise Rejected("invalid_weights", f"a tensor {key} of {dimensions} dimensions is expected, got {found}")
    return tuple(tensors[key].shape)


def count_under(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules, which are numbered, have tensors under a prefix."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in tensors if key.startswith(prefix)})


def load_strictly(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a module, built on the meta device, its weights in float32.

    Raises `invalid_weights` naming the first missing or foreign keys or differing shapes.
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
        told = "; ".join(f"{len(found)} {name}: {_first(found)}" for name, found in faults.items() if found)
        raise Rejected("invalid_weights", told)
    module.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True, assign=True)


def _first(found: list[str]) -> str:
    return ", ".join(found[:SHOWN_KEYS]) + (", …" if len(found) > SHOWN_KEYS else "")
