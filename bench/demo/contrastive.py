"""The two towers at training time and the contrastive loss with several positives per caption and per image."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional


def tokenize(texts: Sequence[str]) -> Tensor:
    """Returns token ids padded to the longest text only, not to the context length.

    The text tower is causal, so what follows the end token cannot change its feature.
    """
    rows = [_token_ids(text) for text in texts]
    width = max(map(len, rows))
    return torch.tensor([row + (0,) * (width - len(row)) for row in rows])


def encode_texts(model: CLIP, tokens: Tensor) -> Tensor:
    """Returns the L2-normalised text features of token rows that may be shorter than the context length."""
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    ends = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)]
    return functional.normalize(ends @ model.text_projection, dim=1)


def encode_images(model: CLIP, images: Tensor) -> Tensor:
    """Returns the L2-normalised image features."""
    return functional.normalize(model.encode_image(images), dim=1)


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """Returns CLIP's symmetric loss in which a caption and an image that fit each other are never negatives.

    Every pair on the diagonal competes with the misfits of its row and of its column only. The other fits are left
    out rather than made positives: asking all of them to be equally similar would collapse a class to one point.

    Args:
        logits: Shape (n, n); caption i was composed for image i.
        fits: Boolean, same shape, True on the diagonal.
    """
    others = fits & ~torch.eye(len(fits), dtype=torch.bool)
    against_misfits = logits.masked_fill(others, -torch.inf)
    target = torch.arange(len(fits))
    return (functional.cross_entropy(against_misfits, target) + functional.cross_entropy(against_misfits.T, target)) / 2


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@lru_cache(maxsize=65536)
def _token_ids(text: str) -> tuple[int, ...]:
    tokenizer = _tokenizer()
    return (tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id)
