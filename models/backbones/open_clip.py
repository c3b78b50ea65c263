"""Backbones on disk as open_clip writes them: `open_clip_config.json` beside safetensors or a pickled state dict."""

from collections.abc import Set
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from certrad.models.backbones.towers import Towers, clip_towers
from certrad.models.backbones.weights import load_strictly, read_config, read_tensors
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard
from certrad.models.types.cards import Activation

# `patch_dropout` acts in training only, so it changes nothing here.
VISION_FIELDS: Final = {
    "image_size",
    "layers",
    "width",
    "patch_size",
    "head_width",
    "mlp_ratio",
    "norm_kwargs",
    "patch_dropout",
}
TEXT_FIELDS: Final = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs"}


def load(card: BackboneCard, directory: Path, weights: Path, activation: Activation) -> Towers:
    """Returns the towers of a CLIP in an open_clip directory, float32, on the CPU."""
    return clip_towers(load_clip(card, directory, weights, activation))


def load_clip(card: BackboneCard, directory: Path, weights: Path, activation: Activation) -> CLIP:
    """Returns the CLIP of an open_clip directory.

    With the activation `config` the file decides, and open_clip's own default GELU if it says nothing.
    """
    return build(read_model_config(card, directory), activation, read_tensors(weights))


def read_model_config(card: BackboneCard, directory: Path) -> dict[str, Any]:
    """Returns the architecture in `open_clip_config.json`.

    Raises:
        Rejected: invalid_weights when it contradicts the normalisation of the card.
    """
    config = read_config(card, directory)
    _check_preprocessing(card, config.get("preprocess_cfg", {}))
    model_config: dict[str, Any] = config.get("model_cfg", config)
    return model_config


def build(model_config: dict[str, Any], activation: Activation, tensors: dict[str, torch.Tensor]) -> CLIP:
    """Returns a CLIP with a vision transformer and a causal text tower; any other architecture is refused, not guessed.

    Nothing is initialised at random: a tensor that the file lacks cannot go unnoticed.

    Raises:
        Rejected: invalid_weights.
    """
    check_architecture(model_config, VISION_FIELDS, TEXT_FIELDS)
    if not isinstance(model_config["vision_cfg"].get("layers", 12), int):
        raise Rejected("invalid_weights", "unsupported in the open_clip configuration: vision_cfg.layers of a ResNet")
    quick_gelu = model_config.get("quick_gelu", False) if activation == "config" else activation == "quick_gelu"
    with torch.device("meta"):
        model = CLIP(
            embed_dim=model_config["embed_dim"],
            vision_cfg=CLIPVisionCfg(**model_config["vision_cfg"]),
            text_cfg=CLIPTextCfg(**model_config["text_cfg"]),
            quick_gelu=quick_gelu,
        )
    load_strictly(model, tensors)
    length = model.context_length
    model.attn_mask = torch.full((length, length), float("-inf")).triu_(1)  # a buffer no file holds
    return model.eval().requires_grad_(False)


def check_architecture(config: dict[str, Any], vision_fields: Set[str], text_fields: Set[str]) -> None:
    """Checks that every field is among the known ones or equals open_clip's default.

    Raises:
        Rejected: invalid_weights if one does not.
    """
    unsupported = [key for key in config if key not in {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}]
    for part, known, kind in (("vision_cfg", vision_fields, CLIPVisionCfg), ("text_cfg", text_fields, CLIPTextCfg)):
        if not isinstance(config.get(part), dict):
            raise Rejected("invalid_weights", f"the open_clip configuration has no {part}")
        defaults = {field.name: field.default for field in fields(kind)}
        for key, value in config[part].items():
            if key not in known and (key not in defaults or value != defaults[key]):
                unsupported.append(f"{part}.{key}")
    if unsupported:
        raise Rejected("invalid_weights", f"unsupported in the open_clip configuration: {', '.join(unsupported)}")


def _check_preprocessing(card: BackboneCard, preprocessing: dict[str, Any]) -> None:
    for name, of_card in (("mean", card.mean), ("std", card.std)):
        of_file = tuple(preprocessing.get(name, of_card))
        if of_file != of_card:
            raise Rejected("invalid_weights", f"{name} is {of_card} in the card of {card.id!r}, {of_file} in the file")
