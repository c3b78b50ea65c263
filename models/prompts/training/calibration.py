"""Adaptation of a prompt to a pool of unlabelled images, fixed before any image comes (docs/mathematics.md, 3.5).

The pool represents a site, a scanner or a stain. Because no image that is certified is in it, the prompt is one fixed
prompt and its certificates keep their full scope. A poisoned pool is out of scope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors, layout
from certrad.models.randomness import seeded

_ENCODED_TOGETHER: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationParams:
    """Hyper-parameters of the adaptation to a pool.

    Attributes:
        sigmas: noise levels, in pixels of [0, 1].
        copies: noisy copies of each image at each level, encoded once.
        steps: AdamW steps.
        batch_size: noisy copies in each step.
        lr: learning rate.
        seed: random seed.
    """

    sigmas: tuple[float, ...] = (0.25, 0.5)
    copies: int = 8
    steps: int = 200
    batch_size: int = 64
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("copies", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if not self.sigmas or not all(0 < sigma <= 2 for sigma in self.sigmas):
            raise ValueError(f"sigmas must be in (0, 2], got {self.sigmas!r}")
        if not 0 < self.lr <= 1:
            raise ValueError(f"lr must be in (0, 1], got {self.lr!r}")


def calibrate(
    backbone: Backbone, pool: Tensor, class_names: Sequence[str], initial: ContextVectors, params: CalibrationParams
) -> ContextVectors:
    """Returns context vectors under which noisy copies of each image of the pool agree with the image without noise.

    Noise-consistency: the cross-entropy of the prediction on a noisy copy against the prediction of `initial` on the
    clean image, a target that stays fixed. The same seed gives the same vectors, bit for bit, on one machine.

    Args:
        backbone: the frozen backbone.
        pool: (N, 3, H, W) float in [0, 1] at the backbone's input size; none of the images may ever be certified.
        class_names: K names.
        initial: the prompt to adapt.
        params: hyper-parameters.
    """
    clean, noisy = _encode(backbone, pool, params)
    vectors = initial.vectors.clone().to(backbone.device).requires_grad_(True)
    prompts = layout(backbone, class_names, initial)
    with torch.no_grad():
        texts = prompts.features(backbone, initial.vectors.to(backbone.device))
        targets = (backbone.logit_scale * clean @ texts.T).softmax(dim=-1)
    generator = seeded(params.seed, "pool batches")
    optimizer = torch.optim.AdamW([vectors], lr=params.lr)
    for _ in range(params.steps):
        image = torch.randint(len(pool), (params.batch_size,), generator=generator)
        copy = torch.randint(noisy.shape[1], (params.batch_size,), generator=generator)
        logits = backbone.logit_scale * noisy[image, copy] @ prompts.features(backbone, vectors).T
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits, targets[image]))
        optimizer.step()
    return initial.with_vectors(vectors.cpu())


@torch.no_grad()
def _encode(backbone: Backbone, pool: Tensor, params: CalibrationParams) -> tuple[Tensor, Tensor]:
    """Returns L2-normalised features (N, D) of the images and (N, levels·copies, D) of their noisy copies."""
    generator = seeded(params.seed, "pool noise")
    levels = torch.tensor(params.sigmas).repeat_interleave(params.copies).view(-1, 1, 1, 1)
    noisy = []
    for image in pool:
        copies = image + levels * torch.randn((len(levels), *image.shape), generator=generator)
        noisy.append(torch.cat([backbone.encode_image(part) for part in torch.split(copies, _ENCODED_TOGETHER)]))
    clean = torch.cat([backbone.encode_image(part) for part in torch.split(pool, _ENCODED_TOGETHER)])
    return F.normalize(clean.float(), dim=-1), F.normalize(torch.stack(noisy).float(), dim=-1)
