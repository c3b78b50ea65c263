"""The denoiser of Denoised Smoothing (Salman et al. 2020): a DnCNN for one sigma, and its file and card."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save
from torch import Tensor, nn

from certrad.models.backbones.weights import file_sha256, load_strictly
from certrad.models.defences.model_files import find_file, read_model_config, read_model_tensors
from certrad.models.errors import Rejected
from certrad.models.files import replace_file

DEPTH: Final = 17
"""Convolutions of a DnCNN (Zhang et al. 2017)."""
CHANNELS: Final = 64
"""Channels between them."""
DIGEST_DIGITS: Final = 16


class DnCnn(nn.Module):
    """Predicts the noise on an image and subtracts it; a fresh one predicts none and so changes nothing.

    Convolutions start orthogonal, the last one at zero. In evaluation mode it is a `Denoise`.
    """

    def __init__(self, depth: int = DEPTH, channels: int = CHANNELS) -> None:
        super().__init__()
        if depth < 2 or channels < 1:
            raise ValueError(f"depth must be >= 2 and channels >= 1, got {depth!r} and {channels!r}")
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            norm = nn.BatchNorm2d(channels, eps=1e-4, momentum=0.95)
            norm.num_batches_tracked = torch.zeros(())  # never read; a float like everything else in the file
            layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm, nn.ReLU()]
        self.noise = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1, bias=False))
        self.depth, self.channels = depth, channels

    def initialise(self, generator: torch.Generator) -> "DnCnn":
        """Draws fresh weights from the generator.

        Returns:
            The network itself.
        """
        *inner, last = (layer for layer in self.noise if isinstance(layer, nn.Conv2d))
        for convolution in inner:
            nn.init.orthogonal_(convolution.weight, generator=generator)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
        nn.init.zeros_(last.weight)
        return self

    def forward(self, noisy: Tensor) -> Tensor:
        """Returns the images (B, 3, H, W) under the noise, of any height and width."""
        denoised: Tensor = noisy - self.noise(noisy)
        return denoised


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserCard:
    """A trained denoiser: the noise it is for, its architecture, its digest and how it was trained.

    Attributes:
        id: the name and the first 16 hex digits of the file's SHA-256.
        sigma: standard deviation of the noise, in pixels of [0, 1].
        depth: number of convolutions.
        channels: channels between them.
        sha256: digest of the weights file.
        training: hyper-parameters, seed and digests of the data and of the classifier, free of patient data.
    """

    id: str
    sigma: float
    depth: int
    channels: int
    sha256: str
    training: dict[str, Any] = field(default_factory=dict)


def save_denoiser(directory: Path, model: DnCnn, *, name: str, sigma: float, training: dict[str, Any]) -> DenoiserCard:
    """Writes a denoiser atomically as `<id>.safetensors` and `<id>.json`.

    Returns:
        Its card.
    """
    content = save({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()})
    sha256 = hashlib.sha256(content).hexdigest()
    card = DenoiserCard(
        id=f"{name}-{sha256[:DIGEST_DIGITS]}",
        sigma=sigma,
        depth=model.depth,
        channels=model.channels,
        sha256=sha256,
        training=training,
    )
    text = json.dumps(asdict(card), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    for path, written in ((f"{card.id}.safetensors", content), (f"{card.id}.json", text.encode())):
        replace_file(directory / path, written, private=False)
    return card


def load_denoiser(directory: Path, id: str, device: torch.device | str = "cpu") -> tuple[DnCnn, DenoiserCard]:
    """Returns a denoiser in evaluation mode, and its card.

    Raises:
        Rejected: model_unavailable, digest_mismatch, or invalid_weights naming the first keys at fault.
    """
    weights = f"{id}.safetensors"
    try:
        card = DenoiserCard(**read_model_config(directory, f"{id}.json"))
    except TypeError as error:
        raise Rejected("invalid_weights", f"{id}.json is not the card of a denoiser") from error
    sha256 = file_sha256(find_file(directory, (weights,)))
    if sha256 != card.sha256:
        raise Rejected("digest_mismatch", f"denoiser {id!r} has SHA-256 {sha256}, its card says {card.sha256}")
    with torch.device("meta"):
        model = DnCnn(card.depth, card.channels)
    load_strictly(model, read_model_tensors(directory, (weights,)))
    model.requires_grad_(False).train(False)
    return model.to(device), card
