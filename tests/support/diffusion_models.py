"""Diffusion models: tiny random ones written as diffusers has them on disk, and ones whose answers are known."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors.torch import save_file
from torch import Tensor

from certrad.models.defences.diffusion import DiffusionModel

SIDE = 16
OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

Formula = Callable[[Tensor, int], Tensor]


def tiny_unet(channels_out: int = 3) -> UNet2DModel:
    """The blocks of guided diffusion (scale-shift norm, residual resampling, attention) at a tiny width."""
    torch.manual_seed(0)
    unet: UNet2DModel = UNet2DModel(
        sample_size=SIDE,
        out_channels=channels_out,
        layers_per_block=1,
        block_out_channels=(16, 16),
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
    )
    unet.requires_grad_(False).train(False)
    return unet


def write_pipeline(
    directory: Path, unet: UNet2DModel, *, flat: bool = False, old_names: bool = False, **scheduler: object
) -> Path:
    """Write a pipeline as `save_pretrained` does, or all of it into one directory; returns the directory."""
    parts = {"unet": directory, "scheduler": directory} if flat else {p: directory / p for p in ("unet", "scheduler")}
    tensors = {key: value.clone() for key, value in unet.state_dict().items()}
    if old_names:
        for name, old in OLD_NAMES.items():
            tensors = {key.replace(name, old): value for key, value in tensors.items()}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    save_file(tensors, parts["unet"] / "diffusion_pytorch_model.safetensors")
    (parts["unet"] / "config.json").write_text(unet.to_json_string())
    config = json.loads(DDPMScheduler(**scheduler).to_json_string())
    (parts["scheduler"] / "scheduler_config.json").write_text(json.dumps(config))
    return directory


@dataclass
class Sample:
    sample: Tensor


@dataclass
class KnownUnet:
    """A network whose output is a formula; it remembers what it was shown."""

    formula: Formula
    side: int | None = SIDE
    seen: list[tuple[Tensor, int]] = field(default_factory=list)

    @property
    def config(self) -> dict[str, int | None]:
        return {"sample_size": self.side}

    def __call__(self, x: Tensor, t: int) -> Sample:
        self.seen.append((x.detach().clone(), t))
        return Sample(self.formula(x, t))


def known_model(
    formula: Callable[[Tensor, int], Tensor], side: int | None = SIDE, **scheduler: object
) -> DiffusionModel:
    """A model of that formula with the scheduler of the library."""
    return DiffusionModel(KnownUnet(formula, side), DDPMScheduler(**scheduler))  # type: ignore[arg-type]


def knowing(clean: Tensor, side: int | None = SIDE) -> DiffusionModel:
    """The perfect model: at every step it names the noise that is between what it sees and these images."""
    scheduler = DDPMScheduler()

    def noise(x: Tensor, t: int) -> Tensor:
        share = float(scheduler.alphas_cumprod[t])
        predicted: Tensor = (x - share**0.5 * (2 * clean - 1)) / (1 - share) ** 0.5
        return predicted

    return known_model(noise, side)
