"""MedCLIP-ViT on disk: a flat state dict of a Swin transformer and a BERT, and BERT's vocabulary beside it."""

from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from transformers.initialization import no_init_weights
from transformers.models.swin.configuration_swin import SwinConfig
from transformers.models.swin.modeling_swin import SwinModel

from certrad.models.backbones.bert import BertText, check_activation, empty_bert, read_tokenizer
from certrad.models.backbones.towers import Towers
from certrad.models.backbones.weights import count_under, load_strictly, read_tensors, shape_of
from certrad.models.types import BackboneCard
from certrad.models.types.cards import Activation

CONTEXT_LENGTH: Final = 25
"""Tokens of every prompt, padding included, as PromptSmooth pads them: the pooling reads the padding."""
MAX_LOGIT_SCALE: Final = 4.6052
"""Upper end of the range [0, ln 100] to which MedCLIP clamps its logit scale before every use."""

PREFIXES: Final = {
    "vision_model.": "visual.",
    "text_model.model.": "text.transformer.",
    "text_model.projection_head.": "text.proj.",
}
BIAS_TABLE: Final = "attention.relative_position_bias.relative_position_bias_table"
RENAMED: Final = {
    ".attention.self.query.": ".attention.q_proj.",
    ".attention.self.key.": ".attention.k_proj.",
    ".attention.self.value.": ".attention.v_proj.",
    ".attention.self.relative_position_bias_table": f".{BIAS_TABLE}",
    ".attention.output.dense.": ".attention.o_proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
}
"""Names inside a Swin block: those of the published file and those of the library."""
DERIVED: Final = (".embeddings.position_ids", ".attention.self.relative_position_index")
"""Ends of the keys of constant buffers that older versions of the library wrote; they follow from the architecture."""
SWIN: Final = "visual.model."
BERT: Final = "text.transformer."


class SwinVision(nn.Module):
    """A Swin transformer, the mean of its normalised tokens, and their projection without a bias."""

    def __init__(self, model: SwinModel, embed_dim: int) -> None:
        super().__init__()
        self.model = model
        self.projection_head = nn.Linear(model.num_features, embed_dim, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns image features (B, D)."""
        features: Tensor = self.projection_head(self.model(pixels).pooler_output)
        return features


def load(card: BackboneCard, directory: Path, weights: Path, activation: Activation) -> Towers:
    """Returns the towers of MedCLIP-ViT, float32, on the CPU; the shapes of its tensors give the architecture."""
    check_activation(card, activation)
    tensors = convert(read_tensors(weights))
    embed_dim, width = shape_of(tensors, "text.proj.weight", 2)
    text = BertText(
        empty_bert(tensors, BERT),
        nn.Linear(width, embed_dim, bias=False),
        mean_of_layers,
        read_tokenizer(card, directory),
        context_length=CONTEXT_LENGTH,
        embed_dim=embed_dim,
        padded=True,
    )
    visual = SwinVision(empty_swin(tensors, card.image_size), embed_dim)
    size = (card.image_size, card.image_size)
    towers = Towers(visual, text, image_size=size, logit_scale=nn.Parameter(torch.empty(())))
    load_strictly(towers, tensors)
    towers.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
    return towers.eval().requires_grad_(False)


def mean_of_layers(hidden_states: Sequence[Tensor]) -> Tensor:
    """Returns the mean over all tokens, padding included, of the first, second and last layer."""
    layers = torch.stack([hidden_states[1], hidden_states[2], hidden_states[-1]])
    return layers.mean(dim=2).mean(dim=0)


def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights under our names; loading refuses a key without a counterpart."""
    return {_rename_key(key): value for key, value in tensors.items() if not key.endswith(DERIVED)}


def _rename_key(key: str) -> str:
    for prefix, ours in PREFIXES.items():
        if key.startswith(prefix):
            key = ours + key.removeprefix(prefix)
    if key.startswith(SWIN):  # BERT still has the published names
        for published, name in RENAMED.items():
            key = key.replace(published, name)
    return key


def empty_swin(tensors: dict[str, Tensor], image_size: int) -> SwinModel:
    """Returns a Swin transformer without values whose architecture is read from the tensors."""
    width, channels, patch, _ = shape_of(tensors, f"{SWIN}embeddings.patch_embeddings.projection.weight", 4)
    hidden, _ = shape_of(tensors, f"{SWIN}encoder.layers.0.blocks.0.mlp.fc1.weight", 2)
    stages = [f"{SWIN}encoder.layers.{i}.blocks." for i in range(count_under(tensors, f"{SWIN}encoder.layers."))]
    tables = [shape_of(tensors, f"{stage}0.{BIAS_TABLE}", 2) for stage in stages]
    config = SwinConfig(
        image_size=image_size,
        patch_size=patch,
        num_channels=channels,
        embed_dim=width,
        depths=[count_under(tensors, stage) for stage in stages],
        num_heads=[heads for _, heads in tables],
        window_size=(isqrt(tables[0][0]) + 1) // 2,  # a table has (2 w - 1)^2 rows
        mlp_ratio=hidden / width,
    )
    with no_init_weights():  # not on the meta device: its relative positions are buffers that no file holds
        return SwinModel(config)
