"""One vision-language model in any on-disk format: one image path and one soft-prompt text path."""

import copy
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from certrad.models.backbones.device import dtype_name
from certrad.models.backbones.graphs import Graphs, capture_on_cuda
from certrad.models.backbones.towers import Towers
from certrad.models.backbones.weights import file_sha256, find_weights, pinned
from certrad.models.errors import Rejected
from certrad.models.types import AdapterCard, BackboneCard
from certrad.models.types.cards import Activation, BackboneFormat

EMBEDDED = Path(__file__).parents[1] / "demo"
EMBEDDED_ID = "demo"
_PART = 1 << 18  # values that are normalised at once on a CPU

# By name: importing transformers' BERT and Swin takes seconds, which no other backbone needs to spend.
LOADERS: dict[BackboneFormat, str] = {
    "open_clip": "certrad.models.backbones.open_clip",
    "hf_clip": "certrad.models.backbones.hf_clip",
    "medclip": "certrad.models.backbones.medclip",
    "biomedclip": "certrad.models.backbones.biomedclip",
}


class Backbone:
    """A frozen vision-language model. The image tower runs in `dtype`, the text tower always in float32.

    Attributes:
        card: the card of the backbone.
        sha256: digest of the weights file.
        image_size: side of the square input in pixels.
        embed_dim: D, the width of a feature.
        text_width: d, the width of a context vector.
        context_length: most tokens of a prompt, start and end token included.
        start_token: id of the token before every prompt.
        end_token: id of the token after every prompt.
        pad_token: id of the tokens behind the end token.
        logit_scale: the learned factor of the cosine similarity, read from the weights.
        device: the device of both towers.
        dtype: the dtype of the image tower.
        precision: the name of its arithmetic as a certificate states it: that of the dtype, unless another package
            than PyTorch computes the tower.
        adapter: the card of the adapter that is merged into the image tower; None for the frozen one.
        channels_last: whether the image tower keeps the channels of a pixel side by side in memory. It then rounds
            otherwise where it convolves.
        graphs: the CUDA graphs of its batches; None on a CPU.
    """

    def __init__(
        self,
        model: Towers,
        card: BackboneCard,
        *,
        sha256: str,
        device: torch.device,
        dtype: torch.dtype,
        adapter: AdapterCard | None = None,
        precision: str | None = None,
        channels_last: bool = False,
    ) -> None:
        self.card = card
        self.adapter = adapter
        self.precision = precision or dtype_name(dtype)
        self.sha256 = sha256
        self.image_size = model.image_size[0]
        self.embed_dim = model.text.embed_dim
        self.text_width = model.text.width
        self.context_length = model.text.context_length
        self.start_token = model.text.start_token
        self.end_token = model.text.end_token
        self.pad_token = model.text.pad_token
        self.logit_scale = float(model.logit_scale.double().exp())
        self.device = device
        self.dtype = dtype
        self._model = model.to(device)
        self._model.visual.to(dtype)
        self.channels_last = channels_last
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self._model.visual.to(memory_format=torch.channels_last)
        self.graphs = Graphs(capture_on_cuda) if device.type == "cuda" else None
        self._mean = torch.tensor(card.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(card.std, device=device).view(1, 3, 1, 1)

    @property
    def image_tower(self) -> nn.Module:
        """The image encoder behind the normalisation. Frozen; to train it, deep-copy the backbone first."""
        return self._model.visual

    def with_image_tower(
        self,
        tower: nn.Module,
        adapter: AdapterCard | None,
        *,
        dtype: torch.dtype | None = None,
        precision: str | None = None,
    ) -> "Backbone":
        """Returns a backbone with this text tower and another image tower.

        Args:
            tower: the image tower, of the same architecture.
            adapter: the card of the adapter that was merged into it; None for the frozen one.
            dtype: the dtype of the image tower; None for that of this one.
            precision: the name of its arithmetic; None for that of the dtype.
        """
        own = self._model
        model = Towers(tower, own.text, image_size=own.image_size, logit_scale=own.logit_scale)
        return Backbone(
            model,
            self.card,
            sha256=self.sha256,
            device=self.device,
            dtype=dtype or self.dtype,
            adapter=adapter,
            precision=precision,
            channels_last=self.channels_last,
        )

    def in_memory_format(self, *, channels_last: bool) -> "Backbone":
        """Returns a backbone with a copy of this image tower in a memory format.

        Args:
            channels_last: whether it keeps the channels of a pixel side by side.
        """
        own = self._model
        tower = copy.deepcopy(own.visual).to(memory_format=torch.contiguous_format)
        return Backbone(
            Towers(tower, own.text, image_size=own.image_size, logit_scale=own.logit_scale),
            self.card,
            sha256=self.sha256,
            device=self.device,
            dtype=self.dtype,
            adapter=self.adapter,
            precision=self.precision,
            channels_last=channels_last,
        )

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Returns image features (B, D) in `dtype`, not normalised, of pixels (B, 3, H, W) in the units of [0, 1].

        Pixels may lie outside [0, 1]: noise is not clipped. Gradients reach the pixels if these require them.
        """
        return self.encode_normalised(self.normalised(pixels))

    def encode_normalised(self, pixels: Tensor) -> Tensor:
        """Returns the features of `encode_image` of pixels that are normalised already.

        Args:
            pixels: (B, 3, H, W), on the device: each channel less `card.mean`, divided by `card.std`. In float32, or in
                `dtype`, in any memory format.
        """
        # In its own memory format whatever it is given, so that a feature has the same bits for all of them.
        features: Tensor = self._model.visual(pixels.to(self.dtype).contiguous(memory_format=self._layout))
        return features

    def normalised(self, pixels: Tensor) -> Tensor:
        """Returns the pixels (B, 3, H, W) as the image tower takes them, in `dtype`."""
        pixels = pixels.to(self.device, torch.float32)
        if self.device.type != "cpu" or torch.is_grad_enabled():
            return ((pixels - self._mean) / self._std).to(self.dtype)
        return self._normalised_in_parts(pixels)

    def _normalised_in_parts(self, pixels: Tensor) -> Tensor:
        """Returns the same bits by parts that stay in the cache: memory for a whole batch is mapped anew each time."""
        rows = max(1, _PART // max(1, pixels[0].numel())) if len(pixels) else 1
        normalised = torch.empty(pixels.shape, dtype=self.dtype)
        memory = torch.empty((min(rows, len(pixels)), *pixels.shape[1:]))
        for first in range(0, len(pixels), rows):
            part = pixels[first : first + rows]
            torch.sub(part, self._mean, out=memory[: len(part)])
            normalised[first : first + rows] = memory[: len(part)].div_(self._std)
        return normalised

    def tokenize(self, text: str) -> list[int]:
        """Returns the token ids of a text in the vocabulary of the text tower, without start and end token.

        Raises:
            Rejected: invalid_request for a text that contains a special token.
        """
        return self._model.text.tokenize(text)

    def vocabulary(self) -> list[str]:
        """Returns every token by its id, as the vocabulary of the text tower spells it, special ones included."""
        return self._model.text.vocabulary()

    def padded_length(self, longest: int) -> int:
        """Returns the length to which all prompts are padded when the longest has `longest` tokens."""
        return self._model.text.padded_length(longest)

    def embed_tokens(self, ids: list[int]) -> Tensor:
        """Returns token embeddings (n, d), without positions."""
        return self._model.text.embed_tokens(torch.tensor(ids, dtype=torch.long, device=self.device))

    def encode_prompts(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        """Returns text features (K, D) in float32, not normalised, of prompt embeddings without positions.

        Args:
            embeddings: (K, L, d); L is `padded_length`, but a tower that reads no padding takes any length that holds
                the end tokens.
            eot: (K,) index of the end token of each prompt. It cannot be searched for, because a context vector has no
                id.
        """
        return self._model.text.encode(embeddings.to(self.device), eot.to(self.device))


def load_backbone(
    card: BackboneCard,
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    activation: Activation | None = None,
) -> Backbone:
    """Loads a backbone from the directory of its files, never from the network.

    Args:
        card: the card of the backbone.
        directory: the folder of its files, see `weights_directory`.
        device: the device of both towers.
        dtype: the dtype of the image tower.
        activation: overrides the card's, for weights whose configuration contradicts their training.

    Returns:
        The backbone, with the weights of the card or of the pin beside them.

    Raises:
        Rejected: backbone_unavailable, digest_mismatch, or invalid_weights naming the first keys at fault.
    """
    card = pinned(card, directory)
    weights = find_weights(card, directory)
    sha256 = file_sha256(weights)
    if card.sha256 not in (None, sha256):
        raise Rejected(
            "digest_mismatch", f"{weights.name} of {card.id!r} has SHA-256 {sha256}, pinned is {card.sha256}"
        )
    loader = import_module(LOADERS[card.format])
    model: Towers = loader.load(card, directory, weights, activation or card.activation)
    if model.image_size != (card.image_size, card.image_size):
        raise Rejected(
            "invalid_weights", f"the image size must be {card.image_size}, as the card says; got {model.image_size}"
        )
    return Backbone(model, card, sha256=sha256, device=torch.device(device), dtype=dtype)


def weights_directory(card: BackboneCard, root: Path) -> Path:
    """Returns the folder of the files of a backbone: inside the package for the embedded one, else `root/<id>`."""
    return EMBEDDED if card.id == EMBEDDED_ID else root / card.id
