"""Adversarial training of the image encoder by PGD and Fast AT: the costly alternative to AdvPT's prompt."""

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Literal

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.base import Attack
from certrad.models.attacks.pgd import PgdParams, adaptive_pgd, embedding_pgd
from certrad.models.backbones.base import Backbone
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.randomness import seeded

FAST_STEP: Final = 1.25
"""Length of the one step of Fast AT in units of epsilon (Wong et al. 2020)."""

Method = Literal["pgd", "fast"]
Images = Callable[[Tensor], Tensor]
"""Pixels (B, 3, S, S) in [0, 1] of the training images with these indices (B,); for a tensor, its `__getitem__`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingParams:
    """Settings of the training: SGD on the cross-entropy of adversarial images, made anew for every batch.

    The papers state neither learning rate nor momentum; the defaults here are small enough to keep a CLIP encoder.

    Attributes:
        method: `pgd` attacks the image features by PGD-10 as AdvPT does (label-free), `fast` the cross-entropy by one
            step of 1.25 epsilon from U(-epsilon, epsilon) (Wong et al. 2020).
        steps: batches trained on, in as many epochs as they fill.
        epsilon: half the side of the L-infinity ball, in pixels of [0, 1].
        batch_size: images in a step.
        lr: learning rate.
        momentum: momentum of SGD.
        seed: random seed.
    """

    method: Method
    steps: int
    epsilon: float = 8 / 255
    batch_size: int = 32
    lr: float = 1e-4
    momentum: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("pgd", "fast"):
            raise ValueError(f"method must be 'pgd' or 'fast', got {self.method!r}")
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be >= 1, got {self.steps!r} and {self.batch_size!r}")
        if not 0 < self.lr <= 1:  # also refuses NaN
            raise ValueError(f"lr must be in (0, 1], got {self.lr!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedEncoder:
    """A trained copy of a backbone and the cost of training it.

    Attributes:
        backbone: the copy.
        seconds: time of all steps, attacks included.
        steps: batches trained on.
        steps_per_epoch: batches that hold every training image once.
        accuracy: accuracy on the adversarial images of the last epoch, or of the part of it that was run.
    """

    backbone: Backbone
    seconds: float
    steps: int
    steps_per_epoch: int
    accuracy: float


def train(
    backbone: Backbone,
    text_features: Tensor,
    images: Images,
    labels: Tensor,
    params: TrainingParams,
    *,
    clock: Callable[[], float] = time.perf_counter,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainedEncoder:
    """Trains a copy of the image encoder against the text features of a frozen template.

    Args:
        backbone: the model whose image encoder is copied; it stays as it is.
        text_features: (K, D), L2-normalised.
        images: returns the pixels of the training images at given indices.
        labels: (N,) of all training images.
        params: settings of the training.
        clock: returns the time in seconds.
        on_step: called with the number of steps done and the loss of the last one.

    Returns:
        The trained copy, with an id and a digest of its own, and the cost of training it.

    Raises:
        ValueError: unless the encoder runs in float32.
    """
    if backbone.dtype != torch.float32:
        raise ValueError(f"the encoder must run in float32; got {backbone.dtype}")
    trained = copy.deepcopy(backbone)
    trained.image_tower.requires_grad_(True)
    classifier = VisionLanguageClassifier(trained, text_features)
    attack = _attack(classifier, params)
    parameters = list(trained.image_tower.parameters())
    optimizer = torch.optim.SGD(parameters, lr=params.lr, momentum=params.momentum)
    steps_per_epoch = -(-len(labels) // params.batch_size)
    batches = _batches(len(labels), params)
    hits: list[Tensor] = []
    started = clock()
    for step in range(params.steps):
        indices, generator = next(batches)
        batch, answers = images(indices).to(trained.device), labels[indices].to(trained.device)
        logits = classifier.logits(attack(batch, answers, generator))
        loss = F.cross_entropy(logits, answers)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        hits.append((logits.argmax(dim=-1) == answers).float().cpu())
        if on_step:
            on_step(step + 1, float(loss.detach()))
    seconds = clock() - started
    trained.image_tower.requires_grad_(False)
    trained.card = replace(trained.card, id=f"{backbone.card.id}-at-{params.method}", sha256=None)
    trained.sha256 = _sha256(parameters)
    last = params.steps % steps_per_epoch or steps_per_epoch
    return TrainedEncoder(
        backbone=trained,
        seconds=seconds,
        steps=params.steps,
        steps_per_epoch=steps_per_epoch,
        accuracy=float(torch.cat(hits[-last:]).mean()),
    )


def _attack(classifier: VisionLanguageClassifier, params: TrainingParams) -> Attack:
    if params.method == "pgd":
        return embedding_pgd(classifier.backbone, PgdParams(epsilon=params.epsilon, steps=10))
    one_step = PgdParams(epsilon=params.epsilon, steps=1, start="two_sided", step_factor=FAST_STEP)
    return adaptive_pgd(lambda pixels, _: classifier.logits(pixels), one_step)


def _batches(n_images: int, params: TrainingParams) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Yields batches without end, each epoch in an order of its own, and the generator of their attacks."""
    for epoch in count():
        generator = seeded(params.seed, "epoch", epoch)
        for indices in torch.split(torch.randperm(n_images, generator=generator), params.batch_size):
            yield indices, generator


def _sha256(parameters: list[torch.nn.Parameter]) -> str:
    """Returns the SHA-256 of the trained parameters as a safetensors file."""
    tensors = {f"{index:05}": value.detach().cpu().contiguous() for index, value in enumerate(parameters)}
    return hashlib.sha256(save(tensors)).hexdigest()
