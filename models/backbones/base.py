"""One vision-language model, whatever its format on disk: one image path and one soft-prompt text path."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from models.backbones import hf_clip, openclip
from models.backbones.weights import file_sha256, find_weights, pinned
from models.errors import Rejected
from models.types import BackboneCard
from models.types.cards import Activation, BackboneFormat

SPECS = Path(__file__).parent / "specs"
EMBEDDED = Path(__file__).parents[1] / "demo"
VOCABULARY = 49_408
"""Size of the CLIP byte-pair vocabulary, the only one the tokenizer knows."""

LOADERS: dict[BackboneFormat, Callable[[BackboneCard, Path, Path, Activation], CLIP]] = {
    "open_clip": openclip.load,
    "hf_clip": hf_clip.load,
}


class Backbone:
    """A frozen CLIP. The image tower runs in `dtype`, the text tower always in float32.

    image_size: side of the square input in pixels. embed_dim: D. text_width: d, the width of a context vector.
    context_length: most tokens of a prompt, start and end token included.
    logit_scale: the learned factor of the cosine similarity, read from the weights.
    sha256: digest of the weights file.
    """

    def __init__(
        self, model: CLIP, card: BackboneCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.card = card
        self.sha256 = sha256
        self.image_size: int = model.visual.image_size[0]
        self.embed_dim: int = model.text_projection.shape[1]
        self.text_width: int = model.token_embedding.embedding_dim
        self.context_length: int = model.context_length
        self.logit_scale = float(model.logit_scale.double().exp())
        self.device = device
        self.dtype = dtype
        self._model = model.to(device)
        self._model.visual.to(dtype)
        self._mean = torch.tensor(card.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(card.std, device=device).view(1, 3, 1, 1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Image features (B, D) in `dtype`, not normalised, of pixels (B, 3, H, W) in the units of [0, 1].

        Pixels may lie outside [0, 1]: noise is not clipped. Gradients reach the pixels when these ask for them.
        """
        normalised = (pixels.to(self.device, torch.float32) - self._mean) / self._std
        features: Tensor = self._model.visual(normalised.to(self.dtype))
        return features

    def tokenize(self, text: str) -> list[int]:
        """Byte-pair token ids of a text, lower-cased, without start and end token."""
        ids: list[int] = _tokenizer().encode(text)
        if any(token >= self.start_token for token in ids):
            raise Rejected("invalid_request", "the text must not contain the start or end token of the vocabulary")
        return ids

    @property
    def start_token(self) -> int:
        """The id of the token before every prompt (SOT)."""
        return VOCABULARY - 2

    @property
    def end_token(self) -> int:
        """The id of the token after every prompt (EOT), at whose position the text feature is read."""
        return VOCABULARY - 1

    def embed_tokens(self, ids: list[int]) -> Tensor:
        """Token embeddings (n, d), without positions."""
        embeddings: Tensor = self._model.token_embedding(torch.tensor(ids, dtype=torch.long, device=self.device))
        return embeddings

    def encode_prompts(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        """Text features (K, D) in float32, not normalised, of prompt embeddings (K, L, d) without positions.

        eot: (K,) index of the end token of each prompt. It is given, never searched for: a context vector has no id.
        The tower is causal, so everything behind the last end token is cut off without changing any feature.
        """
        model, rows = self._model, torch.arange(len(embeddings), device=self.device)
        eot = eot.to(self.device)
        length = int(eot.max()) + 1
        hidden = embeddings.to(self.device)[:, :length] + model.positional_embedding[:length]
        hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
        features: Tensor = model.ln_final(hidden[rows, eot]) @ model.text_projection
        return features


def load_backbone(
    card: BackboneCard,
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    activation: Activation | None = None,
) -> Backbone:
    """Load a backbone from the directory its files lie in, never from the network.

    activation: overrides the card's, for weights whose configuration contradicts their training.
    Raises `backbone_unavailable`, `digest_mismatch`, or `invalid_weights` naming the first keys at fault.
    """
    card = pinned(card, directory)
    weights = find_weights(card, directory)
    sha256 = file_sha256(weights)
    if card.sha256 not in (None, sha256):
        raise Rejected(
            "digest_mismatch", f"{weights.name} of {card.id!r} has SHA-256 {sha256}, pinned is {card.sha256}"
        )
    model = LOADERS[card.format](card, directory, weights, activation or card.activation)
    if model.vocab_size != VOCABULARY:
        raise Rejected("invalid_weights", f"{VOCABULARY} token embeddings are expected, got {model.vocab_size}")
    if tuple(model.visual.image_size) != (card.image_size, card.image_size):
        raise Rejected("invalid_weights", f"image size {card.image_size} is expected, got {model.visual.image_size}")
    return Backbone(model, card, sha256=sha256, device=torch.device(device), dtype=dtype)


def shipped_backbones() -> dict[str, BackboneCard]:
    """The cards that come with the package, by id."""
    cards = [read_card(path) for path in sorted(SPECS.glob("*.json"))]
    return {card.id: card for card in cards}


def read_card(path: Path) -> BackboneCard:
    """The backbone card in a JSON file."""
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return BackboneCard(**{**card, "mean": tuple(card["mean"]), "std": tuple(card["std"])})


def weights_directory(card: BackboneCard, root: Path) -> Path:
    """Where the files of a backbone lie: inside the package when embedded, else in `root/<id>` as fetched."""
    return EMBEDDED if card.hub is None else root / card.id


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()
