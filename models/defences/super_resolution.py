"""Wavelet denoising and super-resolution (Mustafa et al. 2019): off the grid of the attack, onto natural images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.weights import load_strictly
from certrad.models.defences.model_files import read_model_config, read_model_tensors
from certrad.models.defences.purifier import Backward, Purifier, compose, straight_through

if TYPE_CHECKING:
    from transformers.models.swin2sr.modeling_swin2sr import Swin2SRForImageSuperResolution

DERIVED: Final = (".relative_position_index", ".relative_coords_table", ".attn_mask")
"""Ends of the keys of constant buffers that older versions of the library wrote; they follow from the architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveletDenoising:
    """Soft wavelet shrinkage with BayesShrink thresholds in YCbCr.

    Attributes:
        sigma: standard deviation of the assumed noise, in pixels of [0, 1]: 0.02 in AdvPT's code, 0.2 in its paper.
    """

    sigma: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 1:  # also refuses NaN
            raise ValueError(f"sigma must be in (0, 1], got {self.sigma!r}")

    @property
    def name(self) -> str:
        """The name for tables."""
        return f"wavelet {self.sigma:g}"

    @property
    def randomised(self) -> bool:
        """False: it draws nothing."""
        return False

    @property
    def backward(self) -> Backward:
        """`bpda`: scikit-image computes no gradient."""
        return "bpda"

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the denoised images, clipped to [0, 1]."""
        from skimage.restoration import denoise_wavelet  # only evaluations need it

        images = pixels.detach().to("cpu", torch.float64).permute(0, 2, 3, 1).numpy()
        denoised = np.stack(
            [
                denoise_wavelet(
                    image,
                    sigma=self.sigma,
                    method="BayesShrink",
                    mode="soft",
                    convert2ycbcr=True,
                    rescale_sigma=True,
                    channel_axis=-1,
                )
                for image in images
            ]
        )
        purified = torch.from_numpy(denoised).permute(0, 3, 1, 2).clamp(0, 1)
        return straight_through(pixels, purified.to(pixels.device, pixels.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Enlarger:
    """A Swin2SR network, followed by a reduction to the original size.

    Attributes:
        network: the Swin2SR network.
    """

    network: "Swin2SRForImageSuperResolution"

    @property
    def name(self) -> str:
        """The name for tables."""
        return f"Swin2SR x{self.network.config.upscale}"

    @property
    def randomised(self) -> bool:
        """False: it draws nothing."""
        return False

    @property
    def backward(self) -> Backward:
        """`exact`: the gradient passes through the network."""
        return "exact"

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the images enlarged, clipped to [0, 1], and reduced again with an antialiased bilinear filter."""
        height, width = pixels.shape[-2:]
        window, factor = self.network.config.window_size, self.network.config.upscale
        padded = F.pad(pixels, (0, -width % window, 0, -height % window), mode="replicate")  # whole windows only
        enlarged = self.network(padded).reconstruction[..., : factor * height, : factor * width].clamp(0, 1)
        return F.interpolate(enlarged, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def super_resolution(enlarger: Enlarger | None = None, *, sigma: float = 0.02) -> Purifier:
    """Returns the defence of AdvPT's tables: wavelet denoising and, as in Mustafa et al., an enlargement after it.

    AdvPT's released code stops before the enlargement: None reproduces it.

    Args:
        enlarger: the enlargement, or None.
        sigma: standard deviation of the assumed noise, in pixels of [0, 1].
    """
    wavelet = WaveletDenoising(sigma=sigma)
    return wavelet if enlarger is None else compose(wavelet, enlarger)


def load_enlarger(directory: Path, device: torch.device | str = "cpu") -> Enlarger:
    """Returns a Swin2SR from a local directory as its hub has it.

    The directory holds config.json and model.safetensors or pytorch_model.bin.

    Raises:
        Rejected: model_unavailable for a missing file; invalid_weights naming the first keys at fault.
    """
    from transformers.initialization import no_init_weights
    from transformers.models.swin2sr.configuration_swin2sr import Swin2SRConfig
    from transformers.models.swin2sr.modeling_swin2sr import Swin2SRForImageSuperResolution

    config = Swin2SRConfig(**read_model_config(directory, "config.json"))
    tensors = read_model_tensors(directory, ("model.safetensors", "pytorch_model.bin"))
    with no_init_weights():  # not on the meta device: its relative positions are buffers that no file holds
        network = Swin2SRForImageSuperResolution(config)
    load_strictly(network, {key: value for key, value in tensors.items() if not key.endswith(DERIVED)})
    network.requires_grad_(False).train(False)
    torch.nn.Module.to(network, device)
    return Enlarger(network)
