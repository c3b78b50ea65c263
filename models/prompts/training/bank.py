"""Tuning of a bank: prompts learned at several sigmas from two starts, then the gate that combines them.

Everything is learned from the same few labelled images per class, whose noisy copies are encoded once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors, layout, text_features
from certrad.models.prompts.gate import Gate, mixed_similarities
from certrad.models.prompts.training.acquisition import AcquisitionRanges, change_acquisition
from certrad.models.prompts.training.noise import UnitNoise, on_model_input
from certrad.models.prompts.training.trainer import FewShotParams, sample_shots, train_epochs
from certrad.models.prompts.training.trainer_state import TrainerState
from certrad.models.randomness import seeded

_ENCODED_TOGETHER: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BankParams:
    """Hyper-parameters of a bank.

    Attributes:
        shots: labelled images per class.
        sigmas: noise levels of the gate's samples, in pixels of [0, 1].
        member_sigmas: each of them tunes two prompts, one from random vectors and one from the words of the template.
        template: its words before the class name are that start; the text after the class name is dropped.
        copies: noisy copies of every shot at every level, encoded once.
        epochs: epochs of each member, see `FewShotParams`.
        batch_size: batch size of the members.
        lr: learning rate of the members.
        hidden: hidden units of the gate.
        steps: AdamW steps of the gate; the learning rate follows half a cosine down to 0.
        gate_batch: noisy copies in a step of the gate.
        gate_lr: initial learning rate of the gate.
        gate_weight_decay: weight decay of the gate.
        seed: random seed.
        acquisition: the changes of acquisition that are drawn for every copy before its noise; None for the images as
            they are.
    """

    shots: int = 16
    sigmas: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 1.0)
    member_sigmas: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    template: str
    copies: int = 128
    epochs: int = 100
    batch_size: int = 32
    lr: float = 0.002
    hidden: int = 64
    steps: int = 3000
    gate_batch: int = 512
    gate_lr: float = 3e-3
    gate_weight_decay: float = 0.01
    seed: int = 0
    acquisition: AcquisitionRanges | None = None

    def __post_init__(self) -> None:
        for name in ("copies", "hidden", "steps", "gate_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if not self.member_sigmas or not set(self.member_sigmas) <= set(self.sigmas):
            raise ValueError(f"member_sigmas must be among the sigmas {self.sigmas!r}, got {self.member_sigmas!r}")
        if min(self.sigmas) <= 0:
            raise ValueError(f"sigmas must be > 0, got {self.sigmas!r}")

    @property
    def stages(self) -> int:
        """Returns how often `tune_bank` reports something finished: every level of noise, every prompt, the gate."""
        return len(self.sigmas) + 2 * len(self.member_sigmas) + 1

    def member(self, sigma: float, seed: int, n_ctx: int) -> FewShotParams:
        """Returns the hyper-parameters of one prompt."""
        return FewShotParams(
            shots=self.shots,
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            n_ctx=n_ctx,
            class_specific=True,
            sigmas=(sigma,),
            seed=seed,
        )


def tune_bank(
    backbone: Backbone,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    params: BankParams,
    *,
    noise: UnitNoise = on_model_input,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Bank:
    """Returns a bank tuned on a few labelled images per class, never on an image that is to be certified.

    The shots are those that `trainer.train` takes with the same seed. The same seed gives the same bank, bit for bit,
    on one machine.

    Args:
        backbone: the frozen backbone.
        images: (N, 3, H, W) float in [0, 1] at the backbone's input size.
        labels: (N,) integers in 0..K-1.
        class_names: K names.
        params: hyper-parameters.
        noise: the noise of every copy.
        on_stage: called with the name of each finished stage.

    Raises:
        Rejected: before anything is encoded: prompt_too_long, or invalid_request for a template without a word before
            the class name.
    """
    start = ContextVectors.from_text(backbone, params.template.partition("{}")[0])
    layout(backbone, class_names, start)
    chosen = sample_shots(labels, len(class_names), params.shots, params.seed)
    images, labels = images[chosen], labels[chosen]
    directions = noisy_directions(backbone, images, params, on_stage, noise)
    members = []
    for place, sigma in enumerate(params.member_sigmas):
        of_sigma = directions[params.sigmas.index(sigma)]
        for offset, words in enumerate((None, start)):
            few_shot = params.member(sigma, 2 * place + offset, start.n_ctx)
            members.append(_member(backbone, of_sigma, labels, class_names, few_shot, words))
            on_stage(f"prompt {len(members)} of {2 * len(params.member_sigmas)}")
    with torch.no_grad():
        texts = torch.stack([text_features(backbone, class_names, member).cpu() for member in members])
    gate = tune_gate(texts, directions, labels, backbone.logit_scale, params)
    on_stage("gate")
    return Bank(members=tuple(members), gate=gate)


@torch.no_grad()
def noisy_directions(
    backbone: Backbone,
    images: Tensor,
    params: BankParams,
    on_stage: Callable[[str], None] = lambda _: None,
    noise: UnitNoise = on_model_input,
) -> Tensor:
    """Returns L2-normalised features (S, N, C, D) of C noisy copies of each image at each of S levels.

    The noise is not clipped. It is the same with and without changes of acquisition.
    """
    levels = []
    for sigma in params.sigmas:
        generator, changes = (seeded(params.seed, purpose, repr(sigma)) for purpose in ("copies", "acquisition"))
        of_images = []
        for image in images:
            clean = image.expand(params.copies, *image.shape)
            if params.acquisition is not None:
                clean = change_acquisition(clean, params.acquisition, changes)
            copies = clean + sigma * noise(clean, generator)
            parts = [backbone.encode_image(part) for part in copies.split(_ENCODED_TOGETHER)]
            of_images.append(F.normalize(torch.cat(parts).float().cpu(), dim=-1))
        levels.append(torch.stack(of_images))
        on_stage(f"noise of {sigma:g}")
    return torch.stack(levels)


@torch.no_grad()
def bank_accuracy(
    backbone: Backbone,
    bank: Bank,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    sigma: float,
    seed: int,
    noise: UnitNoise = on_model_input,
) -> float:
    """Returns the share of images of which one noisy copy is classified correctly, to 4 decimals.

    A copy with the extra class of the bank is not classified correctly.

    Args:
        backbone: the backbone.
        bank: the bank.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,).
        class_names: K names.
        sigma: standard deviation of the noise, in pixels of [0, 1].
        seed: random seed of the noise.
        noise: the noise of the copies.
    """
    generator, gate = seeded(seed, "validation", repr(sigma)), bank.gate.at(sigma)
    texts = replace(bank, rejection=None).text_features(backbone, class_names).cpu()
    extra = None if bank.rejection is None else bank.rejection.at(sigma)
    correct = 0
    for indices in torch.split(torch.arange(len(images)), _ENCODED_TOGETHER):
        part, truth = images[indices], labels[indices]
        noisy = part + sigma * noise(part, generator)
        directions = F.normalize(backbone.encode_image(noisy).float().cpu(), dim=-1)
        logits = backbone.logit_scale * mixed_similarities(directions, texts, gate.weights(directions))
        if extra is not None:
            logits = torch.cat([logits, extra.logits(directions, backbone.logit_scale)], dim=1)
        correct += int((logits.argmax(dim=-1) == truth).sum())
    return round(correct / len(images), 4)


def tune_gate(texts: Tensor, directions: Tensor, labels: Tensor, logit_scale: float, params: BankParams) -> Gate:
    """Returns the gate with the lowest cross-entropy of the combined logits, over all levels of noise alike, by AdamW.

    It starts from equal weights. Its hidden units see every coordinate of a direction centred and scaled to variance 1;
    that scaling is folded into their weights at the end.

    Args:
        texts: text features (B, K, D) of the members.
        directions: (S, N, C, D), see `noisy_directions`.
        labels: (N,).
        logit_scale: factor of the cosine similarity.
        params: hyper-parameters.
    """
    generator = seeded(params.seed, "gate")
    n_levels, n_images, n_copies, width = directions.shape
    mean, std = directions.mean((0, 1, 2)), directions.std((0, 1, 2)).clamp_min(1e-6)
    log_sigmas = torch.tensor(params.sigmas).log()
    layer = _initial_gate(len(texts), width, params.hidden, generator)
    optimizer = torch.optim.AdamW(layer, lr=params.gate_lr, weight_decay=params.gate_weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.steps)
    hidden, of_sigma, hidden_bias, output, output_bias = layer
    for _ in range(params.steps):
        level, image, copy = (
            torch.randint(size, (params.gate_batch,), generator=generator) for size in (n_levels, n_images, n_copies)
        )
        seen = directions[level, image, copy]
        inner = F.linear((seen - mean) / std, hidden, hidden_bias) + log_sigmas[level].unsqueeze(-1) * of_sigma
        weights = F.linear(F.gelu(inner), output, output_bias)
        logits = logit_scale * mixed_similarities(seen, texts, weights)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits, labels[image]))
        optimizer.step()
        schedule.step()
    hidden, of_sigma, hidden_bias, output, output_bias = (tensor.detach() for tensor in layer)
    return Gate(
        hidden=hidden / std,
        of_sigma=of_sigma,
        hidden_bias=hidden_bias - (hidden / std) @ mean,
        output=output,
        output_bias=output_bias,
        sigma_range=(min(params.sigmas), max(params.sigmas)),
    )


def _initial_gate(n_members: int, width: int, hidden: int, generator: torch.Generator) -> list[Tensor]:
    """Returns random hidden units without influence: all members weigh 1/B."""
    bound = 1 / math.sqrt(width + 1)
    random = (torch.rand((hidden, width + 2), generator=generator) * 2 - 1) * bound
    layer = [
        random[:, :width].clone(),
        random[:, width].clone(),
        random[:, width + 1].clone(),
        torch.zeros((n_members, hidden)),
        torch.full((n_members,), 1 / n_members),
    ]
    return [tensor.requires_grad_(True) for tensor in layer]


def _member(
    backbone: Backbone,
    directions: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    params: FewShotParams,
    start: ContextVectors | None,
) -> ContextVectors:
    """Returns one tuned class-specific prompt, from random vectors or from those of the given words.

    Args:
        backbone: the backbone.
        directions: (N, C, D) of the noisy copies of the shots at its sigma.
        labels: (N,).
        class_names: K names.
        params: hyper-parameters.
        start: vectors of the words, or None.
    """

    def source(indices: Tensor, generator: torch.Generator) -> Tensor:
        return directions[indices, torch.randint(directions.shape[1], indices.shape, generator=generator)]

    resume = None
    if start is not None:
        vectors = start.vectors.expand(len(class_names), *start.vectors.shape).clone()
        resume = TrainerState(epoch=0, loss=0.0, vectors=vectors, momentum=torch.zeros_like(vectors))
    *_, last = train_epochs(backbone, source, labels, class_names, params, resume=resume)
    return ContextVectors(vectors=last.vectors)
