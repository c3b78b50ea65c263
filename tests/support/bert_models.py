"""MedCLIP and BiomedCLIP of any size with seeded random weights, written to disk as they are published."""

import json
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn
from transformers import BertConfig, BertModel, SwinConfig, SwinModel
from transformers.initialization import no_init_weights

from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.types import BackboneCard
from tests.support import tiny_clip

# The special tokens stand nowhere near their usual ids: those must come from the vocabulary.
WORDS = [
    "a",
    "[UNK]",
    "[MASK]",
    "[PAD]",
    "[SEP]",
    ".",
    "-",
    "x",
    "ray",
    "image",
    "of",
    "patient",
    "chest",
    "normal",
    "covid",
    "lung",
    "opacity",
    "no",
    "mucus",
    "[CLS]",
    "A",
    "X",
    "scan",
]
GREY_MEAN, GREY_STD = 0.5862785803043838, 0.27950088968644304
EMBED_DIM = 24
CONTEXT_LENGTH = 40
"""Context length of the tiny BiomedCLIP."""
TINY_SWIN = SwinConfig(image_size=56, embed_dim=16, depths=[2, 2], num_heads=[1, 2], mlp_ratio=2.0)
SWIN_T = SwinConfig(image_size=224, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24])
TINY_VIT, VIT_B = "vit_tiny_patch16_224", "vit_base_patch16_224"
PUBLISHED = {
    ".attention.q_proj.": ".attention.self.query.",
    ".attention.k_proj.": ".attention.self.key.",
    ".attention.v_proj.": ".attention.self.value.",
    ".attention.relative_position_bias.": ".attention.self.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}
"""Names inside a Swin block: those of the library and those of the file that MedCLIP published."""


def bert_config(**changes: Any) -> BertConfig:
    """BERT base, with the ids of the vocabulary written here."""
    return BertConfig(**({"pad_token_id": WORDS.index("[PAD]")} | changes))


def tiny_bert() -> BertConfig:
    """Three narrow layers at the true width, 768."""
    return bert_config(vocab_size=len(WORDS), num_hidden_layers=3, intermediate_size=32, max_position_embeddings=64)


def card(format: str, **changes: object) -> BackboneCard:
    """The card of a model written here."""
    medclip = format == "medclip"
    fields: dict[str, object] = {"id": f"tiny-{format}", "title": format, "format": format, "licence": "none"}
    fields |= {"image_size": 56 if medclip else 224, "activation": "gelu", "hub": f"test/{format}"}
    fields |= {"weights": "pytorch_model.bin" if medclip else "open_clip_pytorch_model.bin"}
    fields |= {"mean": (GREY_MEAN,) * 3, "std": (GREY_STD,) * 3} if medclip else {}
    return BackboneCard(**({"mean": tiny_clip.MEAN, "std": tiny_clip.STD} | fields | changes))  # type: ignore[arg-type]


class MedClip(nn.Module):
    """MedCLIP-ViT from the library's own parts, under the names of its file but for those inside a Swin block."""

    def __init__(self, swin: SwinConfig, bert: BertConfig, embed_dim: int) -> None:
        super().__init__()
        self.vision_model = nn.Module()
        self.vision_model.model = SwinModel(swin)
        self.vision_model.projection_head = nn.Linear(self.vision_model.model.num_features, embed_dim, bias=False)
        self.text_model = nn.Module()
        self.text_model.model = BertModel(bert)
        self.text_model.projection_head = nn.Linear(bert.hidden_size, embed_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def encode_image(self, normalised: Tensor) -> Tensor:
        vision: Any = self.vision_model
        features: Tensor = vision.projection_head(vision.model(normalised).pooler_output)
        return features

    def encode_text(self, ids: Tensor) -> Tensor:
        """The mean over all tokens and over three layers, padding included but masked."""
        text: Any = self.text_model
        mask = (ids != WORDS.index("[PAD]")).long()
        hidden = text.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        of_layers = torch.stack([hidden[1], hidden[2], hidden[-1]]).permute(1, 0, 2, 3)
        features: Tensor = text.projection_head(of_layers.mean(2).mean(1))
        return features


def write_medclip(
    directory: Path,
    swin: SwinConfig = TINY_SWIN,
    bert: BertConfig | None = None,
    embed_dim: int = EMBED_DIM,
) -> MedClip:
    """Write what MedCLIP's archive unpacks to, and the vocabulary; return the model assembled from the library."""
    with no_init_weights():
        model = MedClip(swin, bert or tiny_bert(), embed_dim)
    model.train(False)
    tensors = tiny_clip.random_tensors(model, seed=0)
    model.load_state_dict(tensors, assign=True)
    published = {}
    for key, value in tensors.items():
        for of_library, of_file in PUBLISHED.items() if key.startswith("vision_model.") else ():
            key = key.replace(of_library, of_file)
        published[key] = value
        if key.endswith("relative_position_bias_table"):
            published[key.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.long)
    published["text_model.model.embeddings.position_ids"] = torch.arange(512).unsqueeze(0)
    write_vocabulary(directory, (bert or tiny_bert()).vocab_size)
    torch.save(published, directory / "pytorch_model.bin")
    return model


def write_biomedclip(
    directory: Path,
    vit: str = TINY_VIT,
    bert: BertConfig | None = None,
    embed_dim: int = EMBED_DIM,
    context_length: int = CONTEXT_LENGTH,
) -> CustomTextCLIP:
    """Write the files of BiomedCLIP's hub repository and return open_clip's own model of them."""
    bert = bert or tiny_bert()
    write_vocabulary(directory, bert.vocab_size)
    (directory / "bert").mkdir()
    (directory / "bert" / "config.json").write_text(bert.to_json_string(use_diff=False))
    vision = {"timm_model_name": vit, "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
    text = {"hf_model_name": str(directory / "bert"), "hf_proj_type": "mlp", "context_length": context_length}
    text |= {"hf_pooler_type": "cls_last_hidden_state_pooler"}
    with no_init_weights():
        model = CustomTextCLIP(embed_dim, vision | {"image_size": 224}, text | {"hf_model_pretrained": False})
    model.train(False)
    tensors = tiny_clip.random_tensors(model, seed=0)
    model.load_state_dict(tensors, assign=True)
    published = tensors | {"text.transformer.embeddings.position_ids": torch.arange(512).unsqueeze(0)}
    torch.save(published, directory / "open_clip_pytorch_model.bin")
    names = {"hf_model_name": "test/bert", "hf_tokenizer_name": "test/bert"}
    config = {"embed_dim": embed_dim, "vision_cfg": vision | {"image_size": 224}, "text_cfg": text | names}
    document = {"model_cfg": config, "preprocess_cfg": {"mean": tiny_clip.MEAN, "std": tiny_clip.STD}}
    (directory / "open_clip_config.json").write_text(json.dumps(document, indent=4))
    return model


def write_vocabulary(directory: Path, size: int) -> None:
    """`WORDS` and as many others as the embeddings have rows."""
    directory.mkdir(parents=True, exist_ok=True)
    words = WORDS + [f"[unused{index}]" for index in range(size - len(WORDS))]
    (directory / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def ids_of(words: str, length: int) -> list[int]:
    """Ids of words of the vocabulary between `[CLS]` and `[SEP]`, padded to a length."""
    ids = [WORDS.index(word) for word in ("[CLS]", *words.split(), "[SEP]")]
    return ids + [WORDS.index("[PAD]")] * (length - len(ids))


WRITERS: dict[str, Any] = {"medclip": write_medclip, "biomedclip": write_biomedclip}


def tiny_backbone(format: str, directory: Path) -> Backbone:
    """A tiny backbone of that format, loaded from the files that are written for it."""
    WRITERS[format](directory)
    return load_backbone(card(format), directory)
