"""The files of the demonstration model: half-precision weights, open_clip configuration, card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.model import CLIP
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.files import replace_file

WEIGHTS = "backbone.safetensors"
CONFIG = "open_clip_config.json"
CARD = "backbone.card.json"


def half_precision(model: CLIP) -> dict[str, Tensor]:
    """Return the state dict as it is stored, in float16."""
    return {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}


def write_weights(folder: Path, model: CLIP) -> str:
    """Write the weights in float16 and return their SHA-256."""
    content = save(half_precision(model))
    replace_file(folder / WEIGHTS, content, private=False)
    return hashlib.sha256(content).hexdigest()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the stored weights as float32, which is how they are computed with."""
    stored = load((folder / WEIGHTS).read_bytes())
    return {name: value.to(torch.float32) for name, value in stored.items()}


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a JSON document, indented, ending in a newline."""
    replace_file(path, (json.dumps(document, indent=2) + "\n").encode(), private=False)
