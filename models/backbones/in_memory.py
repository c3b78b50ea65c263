"""A backbone from an open_clip model that is in memory already, with the normalisation that open_clip gave it."""

import hashlib
from copy import deepcopy
from typing import Final

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.backbones.towers import clip_towers
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard

_PROBES: Final = ("a photo of a cat.", "chest X-ray")
_TOLERANCE: Final = 1e-4  # of unit vectors in float32; another text tower is off by far more


def load_open_clip(
    model: CLIP,
    tokenizer: SimpleTokenizer,
    *,
    id: str = "open_clip",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Backbone:
    """Returns a backbone from a copy of an open_clip model, which stays as it is.

    Args:
        model: what `open_clip.create_model` returns for a CLIP with a square input.
        tokenizer: what `open_clip.get_tokenizer` returns for it.
        id: the name of the backbone in its card.
        device: the device of both towers.
        dtype: the dtype of the image tower.

    Raises:
        Rejected: invalid_weights for an architecture that is not CLIP's, or another tokenizer or vocabulary.
    """
    if not isinstance(model, CLIP) or not isinstance(tokenizer, SimpleTokenizer):
        kinds = f"{type(model).__name__} and {type(tokenizer).__name__}"
        raise Rejected("invalid_weights", f"a CLIP and a SimpleTokenizer of open_clip are expected; got {kinds}")
    if not isinstance(model.text_projection, torch.nn.Parameter) or model.attn_mask is None:
        raise Rejected("invalid_weights", "the text tower must be causal, with a projection without bias")
    own = deepcopy(model).to("cpu", torch.float32).eval().requires_grad_(False)
    towers = clip_towers(own, tokenizer)
    height, width = towers.image_size
    if height != width:
        raise Rejected("invalid_weights", f"the model must take a square input; got {height} x {width} pixels")
    sha256 = _tensors_sha256(own)
    backbone = Backbone(towers, _card(own, id, sha256), sha256=sha256, device=torch.device("cpu"), dtype=torch.float32)
    _check_text(backbone, own, tokenizer)
    return Backbone(towers, backbone.card, sha256=sha256, device=torch.device(device), dtype=dtype)


def _card(model: CLIP, id: str, sha256: str) -> BackboneCard:
    preprocessing = getattr(model.visual, "preprocess_cfg", {})
    red, green, blue = preprocessing.get("mean", OPENAI_DATASET_MEAN)
    of_red, of_green, of_blue = preprocessing.get("std", OPENAI_DATASET_STD)
    return BackboneCard(
        id=id,
        title=id,
        format="open_clip",
        image_size=model.visual.image_size[0],
        mean=(red, green, blue),
        std=(of_red, of_green, of_blue),
        activation="config",
        licence="",
        weights="",
        sha256=sha256,
    )


def _check_text(backbone: Backbone, model: CLIP, tokenizer: SimpleTokenizer) -> None:
    """Raises Rejected where the text features are not the model's own: an option of its text tower is not known."""
    with torch.inference_mode():
        own = model.encode_text(tokenizer(list(_PROBES), model.context_length), normalize=True)
        ours = torch.cat([_text_feature(backbone, probe) for probe in _PROBES])
    if not torch.allclose(own, ours, rtol=0, atol=_TOLERANCE):
        raise Rejected("invalid_weights", "the text tower has an option that is not supported: its features differ")


def _text_feature(backbone: Backbone, text: str) -> Tensor:
    ids = [backbone.start_token, *backbone.tokenize(text), backbone.end_token]
    feature = backbone.encode_prompts(backbone.embed_tokens(ids)[None], torch.tensor([len(ids) - 1]))
    return F.normalize(feature, dim=-1)


def _tensors_sha256(model: CLIP) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
