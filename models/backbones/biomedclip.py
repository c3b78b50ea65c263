"""BiomedCLIP on disk: open_clip's files of a timm vision transformer and a BERT, and BERT's vocabulary beside them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from certrad.models.backbones.bert import BertText, check_activation, empty_bert, read_tokenizer
from certrad.models.backbones.open_clip import check_architecture, read_model_config
from certrad.models.backbones.towers import Towers
from certrad.models.backbones.weights import load_strictly, read_tensors
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard
from certrad.models.types.cards import Activation

VISION_FIELDS: Final = {"image_size", "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj"}
# The names of BERT's pretrained weights do not matter: the values are in the file.
TEXT_FIELDS: Final = {
    "context_length",
    "hf_model_name",
    "hf_model_pretrained",
    "hf_pooler_type",
    "hf_proj_type",
    "hf_tokenizer_name",
}
REQUIRED: Final = {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler"}
BERT: Final = "text.transformer."


def load(card: BackboneCard, directory: Path, weights: Path, activation: Activation) -> Towers:
    """Returns the towers of BiomedCLIP, float32, on the CPU; the shapes of its tensors give BERT's architecture."""
    check_activation(card, activation)
    config = read_model_config(card, directory)
    check_architecture(config, VISION_FIELDS, TEXT_FIELDS)
    tensors = read_tensors(weights)
    tensors.pop(f"{BERT}embeddings.position_ids", None)  # a constant buffer that older versions of the library wrote
    visual, text = _vision(config), _text(config, tensors, card, directory)
    towers = Towers(visual, text, image_size=visual.image_size, logit_scale=nn.Parameter(torch.empty(())))
    load_strictly(towers, tensors)
    return towers.eval().requires_grad_(False)


def hidden_state_of_start(hidden_states: Sequence[Tensor]) -> Tensor:
    """Returns the last hidden state of the start token, `[CLS]`, without BERT's own pooling layer."""
    return hidden_states[-1][:, 0]


def _vision(config: dict[str, Any]) -> TimmModel:
    fields = config["vision_cfg"]
    name = fields.get("timm_model_name")
    # A name with a scheme, as "hf-hub:", would be looked up on the network.
    if not isinstance(name, str) or not re.fullmatch(r"vit_\w+", name):
        raise Rejected("invalid_weights", f"timm_model_name must be a vision transformer of timm; got {name!r}")
    try:
        with torch.device("meta"):
            return TimmModel(
                name,
                config["embed_dim"],
                image_size=fields.get("image_size", 224),
                pool=fields.get("timm_pool", "avg"),
                proj=fields.get("timm_proj", "linear"),
            )
    except (RuntimeError, AssertionError, KeyError) as error:
        raise Rejected("invalid_weights", f"the vision tower {name} cannot be built: {type(error).__name__}") from error


def _text(config: dict[str, Any], tensors: dict[str, Tensor], card: BackboneCard, directory: Path) -> BertText:
    fields, embed_dim = config["text_cfg"], config["embed_dim"]
    for field, required in REQUIRED.items():
        if fields.get(field) != required:
            raise Rejected("invalid_weights", f"text_cfg.{field} must be {required}, got {fields.get(field)!r}")
    transformer = empty_bert(tensors, BERT)
    width = transformer.config.hidden_size
    hidden = (width + embed_dim) // 2
    return BertText(
        transformer,
        nn.Sequential(nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, embed_dim, bias=False)),
        hidden_state_of_start,
        read_tokenizer(card, directory),
        context_length=fields["context_length"],
        embed_dim=embed_dim,
        padded=False,
    )
