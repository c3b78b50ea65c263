"""Backbones on disk as Hugging Face `CLIPModel` directories, converted to open_clip's layout while they are read."""

from pathlib import Path
from typing import Any, Final

import torch
from open_clip.model import CLIP
from torch import Tensor
from transformers.models.clip.configuration_clip import CLIPConfig

from certrad.models.backbones import open_clip as openclip
from certrad.models.backbones.towers import Towers, clip_towers
from certrad.models.backbones.weights import read_config, read_tensors
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard
from certrad.models.types.cards import Activation

IGNORED_KEYS: Final = frozenset({"text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"})
"""Constant buffers that older versions of the library wrote into the file."""

OUTSIDE_BLOCKS: Final = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",  # the library's own spelling
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
}
TRANSPOSED: Final = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
BLOCKS: Final = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
}
INSIDE_BLOCKS: Final = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def load(card: BackboneCard, directory: Path, weights: Path, activation: Activation) -> Towers:
    """Returns the towers of a Hugging Face CLIP directory, as open_clip's modules, float32, on the CPU."""
    return clip_towers(load_clip(card, directory, weights, activation))


def load_clip(card: BackboneCard, directory: Path, weights: Path, activation: Activation) -> CLIP:
    """Returns the model of a Hugging Face CLIP directory as open_clip's CLIP.

    Raises:
        Rejected: backbone_unavailable for a missing file; invalid_weights for another model.
    """
    try:
        config = CLIPConfig.from_dict(read_config(card, directory))
    except (TypeError, ValueError, KeyError) as error:
        raise Rejected("invalid_weights", f"config.json of backbone {card.id!r} is not a CLIP one: {error}") from error
    return openclip.build(model_config(config), activation, convert(read_tensors(weights)))


def model_config(config: CLIPConfig) -> dict[str, Any]:
    """Returns the same architecture in open_clip's words.

    Raises:
        Rejected: invalid_weights for an activation other than gelu and quick_gelu.
    """
    vision: Any = config.vision_config
    text: Any = config.text_config
    activations = {vision.hidden_act, text.hidden_act}
    if activations not in ({"gelu"}, {"quick_gelu"}):
        raise Rejected("invalid_weights", f"hidden_act must be gelu or quick_gelu in both towers, got {activations}")
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "patch_size": vision.patch_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
            "norm_kwargs": {"eps": vision.layer_norm_eps},
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
            "norm_kwargs": {"eps": text.layer_norm_eps},
        },
    }


def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of a `CLIPModel` under open_clip's names; loading refuses a key without a counterpart."""
    converted: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key in TRANSPOSED:
            converted[TRANSPOSED[key]] = value.T.contiguous()
        elif key not in IGNORED_KEYS:
            converted[_rename_key(key)] = value
    for key in [key for key in converted if ".self_attn.q_proj." in key]:
        parts = [key.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
        if all(part in converted for part in parts):
            rows = [converted.pop(part) for part in parts]
            converted[key.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(rows)
    return converted


def _rename_key(key: str) -> str:
    for prefix, target in BLOCKS.items():
        if key.startswith(prefix):
            index, _, rest = key.removeprefix(prefix).partition(".")
            name, _, leaf = rest.rpartition(".")
            return f"{target}{index}.{INSIDE_BLOCKS.get(name, name)}.{leaf}"
    return OUTSIDE_BLOCKS.get(key, key)
