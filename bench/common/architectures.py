"""The CLIP a backbone card names, with its own weights or with random ones of the true architecture."""

import json
from pathlib import Path
from typing import Any, Final

import open_clip
import torch
from open_clip.model import CLIP

from certrad.models.backbones import hf_clip
from certrad.models.backbones import open_clip as openclip
from certrad.models.backbones.base import EMBEDDED, weights_directory
from certrad.models.backbones.weights import CONFIG_FILES, find_weights, pinned
from certrad.models.types import BackboneCard

OPEN_CLIP_NAMES: Final = {
    "clip-vit-b-16": "ViT-B-16-quickgelu",
    "clip-vit-b-32": "ViT-B-32-quickgelu",
    "clip-vit-l-14": "ViT-L-14-quickgelu",
    "plip": "ViT-B-32-quickgelu",
    "quiltnet-b-32": "ViT-B-32",
}
"""Backbone id -> the open_clip configuration of the same architecture."""


def load_clip(card: BackboneCard, root: Path) -> CLIP:
    """The CLIP of a card in float32 on the CPU; raises `backbone_unavailable` where its weights are not there."""
    directory = weights_directory(card, root)
    card = pinned(card, directory)
    loaders = {"open_clip": openclip.load_clip, "hf_clip": hf_clip.load_clip}
    if card.format not in loaders:
        raise ValueError(f"{card.id!r} is no CLIP")
    return loaders[card.format](card, directory, find_weights(card, directory), card.activation)


def random_clip(card: BackboneCard, seed: int = 0, image_size: int | None = None) -> CLIP:
    """A CLIP of the card's architecture with random weights: as fast as the true one, and of no other use.

    Args:
        card: Names the architecture.
        seed: Of the weights.
        image_size: Side of its input; None for the card's own.
    """
    architecture = _architecture(card)
    if image_size is not None:
        architecture["vision_cfg"] = {**architecture["vision_cfg"], "image_size": image_size}
    torch.manual_seed(seed)
    return CLIP(**architecture).eval().requires_grad_(False)


def _architecture(card: BackboneCard) -> dict[str, Any]:
    if card.id in OPEN_CLIP_NAMES:
        config: dict[str, Any] = open_clip.get_model_config(OPEN_CLIP_NAMES[card.id])
        return config
    if card.hub is None:
        document = json.loads((EMBEDDED / CONFIG_FILES[card.format]).read_text(encoding="utf-8"))
        embedded: dict[str, Any] = document["model_cfg"]
        return embedded
    raise ValueError(f"the architecture of {card.id!r} is known only from its files")
