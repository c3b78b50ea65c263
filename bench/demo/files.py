"""The files of the demonstration model: half-precision weights, open_clip configuration, card."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from open_clip.model import CLIP
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.files import replace_file

WEIGHTS: Final = "backbone.safetensors"
CONFIG: Final = "open_clip_config.json"
CARD: Final = "backbone.card.json"


def half_precision(model: CLIP) -> dict[str, Tensor]:
    """Returns the state dict as it is stored, in float16."""
    return {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}


def write_weights(folder: Path, model: CLIP) -> str:
    """Writes the weights in float16 and returns their SHA-256."""
    content = save(half_precision(model))
    replace_file(folder / WEIGHTS, content, private=False)
    return hashlib.sha256(content).hexdigest()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Returns the stored weights as float32, which is how they are computed with."""
    stored = load((folder / WEIGHTS).read_bytes())
    return {name: value.to(torch.float32) for name, value in stored.items()}


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Writes a JSON document, indented, ending in a newline."""
    replace_file(path, (json.dumps(document, indent=2) + "\n").encode(), private=False)
