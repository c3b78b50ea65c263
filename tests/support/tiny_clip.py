"""Tiny CLIPs with seeded random weights, written to disk in the two formats the service reads."""

import json
from pathlib import Path

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel
from transformers.initialization import no_init_weights

from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.types import BackboneCard

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
WIDTH = 32
IMAGE_SIZE = 32
MODEL_CFG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 2, "width": WIDTH, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 2},
}


def card(format: str, *, id: str = "tiny", image_size: int = IMAGE_SIZE, **changes: object) -> BackboneCard:
    """The card of a model written here."""
    weights = {"open_clip": "open_clip_model.safetensors", "hf_clip": "model.safetensors"}[format]
    fields = {"id": id, "title": id, "format": format, "image_size": image_size, "mean": MEAN, "std": STD}
    fields |= {"activation": "config", "licence": "none", "hub": f"test/{id}", "weights": weights}
    return BackboneCard(**(fields | changes))  # type: ignore[arg-type]


def random_tensors(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """A value for every parameter, biases and norms included, that a wrong key map could not survive."""
    # Windows into one pool of normal variates: as good for this purpose, and full-size models stay quick.
    pool = 0.05 * torch.randn(1_000_000, generator=torch.Generator().manual_seed(seed))
    tensors = {}
    for index, (name, parameter) in enumerate(sorted(model.named_parameters())):
        flat, window = torch.empty(parameter.numel()), pool[1009 * index :][:500_009]
        for part in torch.split(flat, len(window)):
            part.copy_(window[: len(part)])
        if name == "logit_scale":
            flat.fill_(3.0)
        elif parameter.ndim == 1 and name.endswith("weight"):
            flat.mul_(2).add_(1)
        tensors[name] = flat.view(parameter.shape)
    return tensors


def write_open_clip(
    directory: Path, model_cfg: dict[str, object] | None = None, *, seed: int = 0, pickled: bool = False
) -> CLIP:
    """Write an open_clip directory and return the library's own model of it."""
    model_cfg = model_cfg or dict(MODEL_CFG)
    model = CLIP(**model_cfg)
    model.train(False)
    tensors = random_tensors(model, seed)
    model.load_state_dict(tensors, assign=True)
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model_cfg, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (directory / "open_clip_config.json").write_text(json.dumps(config, indent=2))
    if pickled:
        torch.save(tensors, directory / "open_clip_pytorch_model.bin")
    else:
        save_file(tensors, directory / "open_clip_model.safetensors")
    return model


def tiny_hf_config(**changes: object) -> CLIPConfig:
    """A tiny Hugging Face CLIP configuration with the legacy end token of the published models."""
    both = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = both | {"eos_token_id": 2, "bos_token_id": 0} | changes
    vision = both | {"image_size": IMAGE_SIZE, "patch_size": 16} | changes
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)


def write_hf_clip(
    directory: Path, config: CLIPConfig | None = None, *, seed: int = 0, pickled: bool = False
) -> CLIPModel:
    """Write a Hugging Face CLIP directory as its hub has it and return the library's own model of it."""
    config = config or tiny_hf_config()
    with no_init_weights():
        model: CLIPModel = CLIPModel(config)
    model.train(False)
    tensors = random_tensors(model, seed)
    model.load_state_dict(tensors, assign=True)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(config.to_json_string(use_diff=False))
    if pickled:
        for tower, length in (("text", 77), ("vision", model.vision_model.embeddings.num_positions)):
            tensors[f"{tower}_model.embeddings.position_ids"] = torch.arange(length).unsqueeze(0)
        torch.save(tensors, directory / "pytorch_model.bin")
    else:
        save_file(tensors, directory / "model.safetensors")
    return model


def tiny_backbone(directory: Path) -> Backbone:
    """A tiny backbone, loaded from the open_clip directory that is written for it."""
    write_open_clip(directory)
    return load_backbone(card("open_clip"), directory)
