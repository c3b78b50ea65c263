"""The two towers of a vision-language model behind one small interface, and CLIP's text tower."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from certrad.models.errors import Rejected

VOCABULARY: Final = 49_408
"""Size of the CLIP byte-pair vocabulary, the only one its tokenizer knows."""

_WORD_END: Final = "</w>"


class TextTower(nn.Module, ABC):
    """Turns prompts into text features, always in float32.

    Attributes:
        width: d, the width of a word embedding and so of a context vector.
        embed_dim: D, the width of a text feature.
        context_length: most tokens of a prompt, start and end token included.
        start_token: id of the token before every prompt.
        end_token: id of the token after every prompt.
        pad_token: id of the tokens behind the end token.
    """

    width: int
    embed_dim: int
    context_length: int
    start_token: int
    end_token: int
    pad_token: int

    @abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """Returns the token ids of a text without start and end token.

        Raises:
            Rejected: invalid_request for a text that contains a special token.
        """

    @abstractmethod
    def vocabulary(self) -> list[str]:
        """Returns every token by its id, as the vocabulary spells it."""

    @abstractmethod
    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Returns word embeddings (n, d), without positions."""

    @abstractmethod
    def encode(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Returns text features (K, D), not normalised, of word embeddings.

        Args:
            embeddings: (K, L, d), without positions.
            ends: (K,) index of the end token of each prompt.
        """

    def padded_length(self, longest: int) -> int:
        """Returns L, the length to which all prompts are padded when the longest has `longest` tokens."""
        return longest


class Towers(nn.Module):
    """A vision-language model: normalised pixels (B, 3, S, S) to image features (B, D); prompts to text features.

    Attributes:
        visual: the image tower.
        text: the text tower.
        image_size: (height, width) of the input.
        logit_scale: the logarithm of the factor of the cosine similarity.
    """

    def __init__(
        self, visual: nn.Module, text: TextTower, *, image_size: tuple[int, int], logit_scale: nn.Parameter
    ) -> None:
        super().__init__()
        self.visual = visual
        self.text = text
        self.image_size = image_size
        self.logit_scale = logit_scale


class ClipText(TextTower):
    """CLIP's causal transformer: the feature is read at the end token, so nothing behind it has an effect.

    Raises:
        Rejected: invalid_weights for a foreign vocabulary.
    """

    attn_mask: Tensor

    def __init__(self, model: CLIP, tokenizer: SimpleTokenizer | None = None) -> None:
        super().__init__()
        self._tokenizer = tokenizer or _tokenizer()
        if model.vocab_size != VOCABULARY:
            raise Rejected(
                "invalid_weights", f"the model must have {VOCABULARY} token embeddings; got {model.vocab_size}"
            )
        self.token_embedding = model.token_embedding
        self.positional_embedding = model.positional_embedding
        self.transformer = model.transformer
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)
        self.width = model.token_embedding.embedding_dim
        self.embed_dim = model.text_projection.shape[1]
        self.context_length = model.context_length
        self.start_token, self.end_token, self.pad_token = VOCABULARY - 2, VOCABULARY - 1, 0

    def tokenize(self, text: str) -> list[int]:
        """Returns the byte-pair token ids of a text, lower-cased.

        Raises:
            Rejected: invalid_request for a text that contains the start or end token.
        """
        ids: list[int] = self._tokenizer.encode(text)
        if any(token >= self.start_token for token in ids):
            raise Rejected("invalid_request", "the text must not contain the start or end token of the vocabulary")
        return ids

    def vocabulary(self) -> list[str]:
        """Returns every token of the byte-pair vocabulary; `</w>` ends a word.

        Bytes are put back to characters; a token that is only a part of a character keeps the vocabulary's own
        spelling.
        """
        tokenizer = self._tokenizer
        return [_decode_token(tokenizer.decoder[token], tokenizer.byte_decoder) for token in range(VOCABULARY)]

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Returns token embeddings."""
        embeddings: Tensor = self.token_embedding(ids)
        return embeddings

    def encode(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Returns the projected hidden states at the end tokens; everything behind the last of them is cut off."""
        rows, length = torch.arange(len(embeddings), device=embeddings.device), int(ends.max()) + 1
        hidden = embeddings[:, :length] + self.positional_embedding[:length]
        hidden = self.transformer(hidden, attn_mask=self.attn_mask[:length, :length])
        features: Tensor = self.ln_final(hidden[rows, ends]) @ self.text_projection
        return features


def clip_towers(model: CLIP, tokenizer: SimpleTokenizer | None = None) -> Towers:
    """Returns a CLIP as two towers, which share its tensors.

    Args:
        model: the CLIP.
        tokenizer: that of its text tower; None for the byte-pair one of CLIP.

    Raises:
        Rejected: invalid_weights for a foreign vocabulary.
    """
    height, width = model.visual.image_size
    return Towers(model.visual, ClipText(model, tokenizer), image_size=(height, width), logit_scale=model.logit_scale)


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


def _decode_token(token: str, bytes_of: Mapping[str, int]) -> str:
    word = token.removesuffix(_WORD_END)
    try:
        return bytes(bytes_of[character] for character in word).decode("utf-8") + token[len(word) :]
    except ValueError:
        return token
