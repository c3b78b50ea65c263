"""Purification by a diffusion model: DiffPure (Nie et al. 2022) and one-shot denoising (Carlini et al. 2023)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from certrad.models.backbones.weights import load_strictly
from certrad.models.defences.model_files import read_model_config, read_model_tensors
from certrad.models.defences.purifier import Backward, Denoise, normal_noise, resize, straight_through
from certrad.models.errors import Rejected

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

WEIGHTS: Final = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
RENAMED: Final = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names inside an attention block: those of files published before diffusers 0.14 and those of the library."""


@dataclass(frozen=True, slots=True, eq=False)
class DiffusionModel:
    """An unconditional pixel-space model of images in [-1, 1] that predicts noise.

    Attributes:
        unet: the network; its output has the channels of its input, or twice as many if it predicts the variance too.
        scheduler: the noise schedule and the reverse steps.
    """

    unet: "UNet2DModel"
    scheduler: "DDPMScheduler"

    @property
    def alphas_cumprod(self) -> Tensor:
        """The share (T,) of the image in the variance after t + 1 steps of noise, float64."""
        shares: Tensor = self.scheduler.alphas_cumprod
        return shares.double()

    def to_model_range(self, pixels: Tensor) -> Tensor:
        """Returns pixels (B, 3, S, S) of [0, 1] at the size and in the range [-1, 1] of the model."""
        side = self.unet.config["sample_size"]
        return 2 * (pixels if side is None else resize(pixels, (side, side))) - 1

    def output(self, x: Tensor, t: int) -> Tensor:
        """Returns the predicted noise and, if the model has one, the variance behind it along the channels."""
        predicted: Tensor = self.unet(x, t).sample
        return predicted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiffPure:
    """Diffuses the image by `steps` steps of noise, then reverses every step.

    Attributes:
        model: the diffusion model.
        steps: 150 of 1,000 in AdvPT, which is noise of 0.26 in pixels of [0, 1] for a linear schedule.
        differentiate: `bpda` replaces the gradient by the identity; `exact` computes it, each step a second time so
            that only one is in memory at once.
    """

    model: DiffusionModel
    steps: int = 150
    differentiate: Backward = "bpda"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= len(self.model.alphas_cumprod):
            raise ValueError(f"steps must be in 1..{len(self.model.alphas_cumprod)}, got {self.steps!r}")
        if self.differentiate not in ("exact", "bpda"):
            raise ValueError(f"differentiate must be 'exact' or 'bpda', got {self.differentiate!r}")

    @property
    def name(self) -> str:
        """The name for tables."""
        return f"DiffPure {self.steps}"

    @property
    def randomised(self) -> bool:
        """True: it draws noise in every step."""
        return True

    @property
    def backward(self) -> Backward:
        """The value of `differentiate`."""
        return self.differentiate

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the images at the end of the reverse process, at their original size."""
        if self.differentiate == "exact":
            return self._purify(pixels, generator)
        with torch.no_grad():
            purified = self._purify(pixels, generator)
        return straight_through(pixels, purified)

    def _purify(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        clean = self.model.to_model_range(pixels)
        share = float(self.model.alphas_cumprod[self.steps - 1])
        x = share**0.5 * clean + (1 - share) ** 0.5 * normal_noise(clean.shape, generator, clean.device)
        for t in reversed(range(self.steps)):
            seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
            x = checkpoint(self._reverse_step, x, t, seed, use_reentrant=False)
        return resize((x + 1) / 2, pixels.shape[-2:])

    def _reverse_step(self, x: Tensor, t: int, seed: int) -> Tensor:
        """Returns the image one step back; the seed makes a second computation of a step draw the same noise."""
        noise = torch.Generator().manual_seed(seed)
        before: Tensor
        before, _ = self.model.scheduler.step(self.model.output(x, t), t, x, generator=noise, return_dict=False)
        return before


def timestep(alphas_cumprod: Tensor, sigma: float) -> int:
    """Returns t*, the smallest index t >= 1 whose noise is at least `sigma`: sqrt((1 - a_t) / a_t) >= 2 sigma.

    Args:
        alphas_cumprod: a, (T,).
        sigma: in pixels of [0, 1], which is 2 sigma in the [-1, 1] of the model.

    Raises:
        ValueError: if no step is so noisy.
    """
    ratios = ((1 - alphas_cumprod) / alphas_cumprod).sqrt()
    enough = torch.nonzero(ratios[1:] >= 2 * sigma)
    if not sigma > 0 or not len(enough):
        raise ValueError(f"sigma must be in (0, {float(ratios[-1]) / 2:g}] for this model, got {sigma!r}")
    return 1 + int(enough[0])


def denoise_once(model: DiffusionModel, noisy: Tensor, sigma: float) -> Tensor:
    """Returns the images (B, 3, S, S) in [0, 1] under noise of exactly `sigma`, by one call (Carlini et al. 2023).

    It removes the noise of a certificate and adds none. The input is scaled to t*; the peers add the noise of t*, a
    little more than the radius is computed with. At another size than the model's the noise is resampled with the image
    and is no longer white: the denoiser then does less well, but the certificate holds.

    Args:
        model: the diffusion model.
        noisy: pixels (B, 3, S, S) with that noise already on them, unclipped.
        sigma: standard deviation of the noise, in pixels of [0, 1].
    """
    t = timestep(model.alphas_cumprod, sigma)
    share = float(model.alphas_cumprod[t])
    x = share**0.5 * model.to_model_range(noisy)
    noise = model.output(x, t)[:, : x.shape[1]]
    clean = ((x - (1 - share) ** 0.5 * noise) / share**0.5).clamp(-1, 1)
    return resize((clean + 1) / 2, noisy.shape[-2:])


def one_shot(model: DiffusionModel, sigma: float) -> Denoise:
    """Returns `denoise_once` at one sigma, for a certificate of that sigma."""
    return partial(denoise_once, model, sigma=sigma)


def load_diffusion(directory: Path, device: torch.device | str = "cpu") -> DiffusionModel:
    """Returns a diffusers pipeline of UNet2DModel and DDPMScheduler from a local directory, in float32.

    Its files are in `unet/` and `scheduler/`, or all in the directory itself.

    Raises:
        Rejected: model_unavailable for a missing file; invalid_weights for another kind of model, or naming the first
            keys at fault.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import, and only evaluations need it
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    unet_files, scheduler_files = (
        path if path.is_dir() else directory for path in (directory / "unet", directory / "scheduler")
    )
    config = _config(unet_files, "config.json", UNet2DModel)
    scheduler = DDPMScheduler.from_config(_config(scheduler_files, "scheduler_config.json", DDPMScheduler))
    if scheduler.config["prediction_type"] != "epsilon":
        raise Rejected(
            "invalid_weights", f"the model must predict 'epsilon'; got {scheduler.config['prediction_type']!r}"
        )
    tensors = read_model_tensors(unet_files, WEIGHTS)
    with torch.device("meta"):
        unet = UNet2DModel.from_config(config)
    load_strictly(unet, {_rename_key(key): value for key, value in tensors.items()})
    return DiffusionModel(unet.eval().requires_grad_(False).to(device), scheduler)


def _config(directory: Path, name: str, kind: type) -> dict[str, Any]:
    config = read_model_config(directory, name)
    if config.get("_class_name") != kind.__name__:
        raise Rejected("invalid_weights", f"{name} must be of a {kind.__name__}; got {config.get('_class_name')!r}")
    return config


def _rename_key(key: str) -> str:
    if ".attentions." in key:
        for published, name in RENAMED.items():
            key = key.replace(published, name)
    return key
