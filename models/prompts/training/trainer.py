"""The only trainer of prompts: Few-Shot PromptSmooth (eq. 1), which without noise is CoOp.

Each epoch draws its randomness from (seed, epoch) alone, so that a resumed training continues as if never interrupted.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors, layout
from certrad.models.prompts.training.acquisition import AcquisitionRanges, change_acquisition
from certrad.models.prompts.training.augmentation import crop_and_flip
from certrad.models.prompts.training.noise import UnitNoise, on_model_input
from certrad.models.prompts.training.trainer_state import TrainerState, WithinEpoch
from certrad.models.randomness import seeded
from certrad.models.types.cards import ContextPosition

FeatureSource = Callable[[Tensor, torch.Generator], Tensor]
"""Image features (B, D) of the training items with these indices (B,), all randomness from the generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotParams:
    """Hyper-parameters; the defaults are those of PromptSmooth (MICCAI 2024), and of CoOp where that says nothing.

    Attributes:
        shots: labelled images per class.
        epochs: passes over all shots.
        lr: initial learning rate.
        batch_size: images in a step.
        n_ctx: number of context vectors.
        class_specific: whether every class has vectors of its own.
        position: position of the class name.
        sigmas: each image of a batch gets Gaussian noise of one of these standard deviations, in pixels of [0, 1],
            drawn uniformly, never clipped; an empty tuple is CoOp.
        augment: random resized crop and horizontal flip before the noise, as CoOp.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        warmup_epochs: epochs at the learning rate warmup_lr.
        warmup_lr: learning rate of the warm-up.
        seed: random seed.
        acquisition: the changes of acquisition that are drawn for every image of a batch before the noise; None for
            the images as they are.
    """

    shots: int = 16
    epochs: int = 50
    lr: float = 0.002
    batch_size: int = 16
    n_ctx: int = 5
    class_specific: bool = False
    position: ContextPosition = "end"
    sigmas: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    augment: bool = False
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    seed: int = 0
    acquisition: AcquisitionRanges | None = None

    def __post_init__(self) -> None:
        for name in ("shots", "epochs", "batch_size", "n_ctx"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if not 0 < self.lr <= 1:  # also refuses NaN
            raise ValueError(f"lr must be in (0, 1], got {self.lr!r}")
        if not all(0 < sigma <= 2 for sigma in self.sigmas):
            raise ValueError(f"sigmas must be in (0, 2], got {self.sigmas!r}")

    def learning_rate(self, epoch: int) -> float:
        """Returns the learning rate of an epoch: constant warm-up, then half a cosine over all epochs (CoOp, Dassl)."""
        if epoch < self.warmup_epochs:
            return self.warmup_lr
        return 0.5 * self.lr * (1 + math.cos(math.pi * (epoch - self.warmup_epochs) / self.epochs))


def train(
    backbone: Backbone,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    params: FewShotParams,
    *,
    resume: TrainerState | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> ContextVectors:
    """Returns context vectors learned from a few noisy labelled images per class; the backbone stays frozen.

    The same seed gives the same vectors, bit for bit, on one machine.

    Args:
        backbone: the frozen backbone.
        images: (N, 3, H, W) float in [0, 1] at the backbone's input size.
        labels: (N,) integers in 0..K-1.
        class_names: K names.
        params: hyper-parameters.
        resume: state to continue from.
        on_epoch: called after each epoch with the number of epochs done and the mean loss.

    Raises:
        ValueError: for images of another size.
    """
    side = backbone.image_size
    if images.shape[1:] != (3, side, side):
        raise ValueError(f"images must have the shape (N, 3, {side}, {side}), got {tuple(images.shape)}")
    chosen = sample_shots(labels, len(class_names), params.shots, params.seed)
    source = image_features(backbone, images[chosen], params)
    context = random_context(backbone, len(class_names), params)
    for state in train_epochs(backbone, source, labels[chosen], class_names, params, resume=resume):
        context = context.with_vectors(state.vectors)
        if on_epoch:
            on_epoch(state.epoch, state.loss)
    return context


def train_epochs(
    backbone: Backbone,
    source: FeatureSource,
    labels: Tensor,
    class_names: Sequence[str],
    params: FewShotParams,
    *,
    resume: TrainerState | None = None,
    on_batch: Callable[[Callable[[], TrainerState]], None] = lambda _: None,
) -> Iterator[TrainerState]:
    """Minimises the cross-entropy of the image features of `source` by SGD on the context vectors, in float32.

    The last batch is dropped when it is not full, unless it is the only one (Dassl).

    Args:
        backbone: the frozen backbone.
        source: image features of the training items.
        labels: (N,) integers in 0..K-1.
        class_names: K names.
        params: hyper-parameters.
        resume: state to continue from.
        on_batch: called before every batch with what returns the state at that point.

    Yields:
        The state after each epoch; before them, the given state to resume from.
    """
    context = random_context(backbone, len(class_names), params)
    if resume is None:
        zeros = torch.zeros_like(context.vectors)
        resume = TrainerState(epoch=0, loss=0.0, vectors=context.vectors, momentum=zeros)
    else:
        yield resume
    # The caller keeps the states that it received, so they must not change.
    vectors = resume.vectors.clone().to(backbone.device).requires_grad_(True)
    prompts = layout(backbone, class_names, context)
    optimizer = torch.optim.SGD([vectors], lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay)
    # With a zero buffer the first step is that of an empty one: momentum·0 + gradient.
    optimizer.state[vectors]["momentum_buffer"] = resume.momentum.clone().to(backbone.device)
    within, loss_before = resume.within, resume.loss
    for epoch in range(resume.epoch, params.epochs):
        optimizer.param_groups[0]["lr"] = params.learning_rate(epoch)
        generator = seeded(params.seed, "epoch", epoch)
        batches = _batches(len(labels), params.batch_size, generator)
        losses: list[Tensor] = []
        if within is not None:
            losses.extend(within.losses.to(backbone.device))
            generator.set_state(within.generator)
            within = None
        for indices in batches[len(losses) :]:
            on_batch(partial(_state_within, epoch, loss_before, losses, generator, vectors, optimizer))
            images = F.normalize(source(indices, generator).to(backbone.device, torch.float32), dim=-1)
            logits = backbone.logit_scale * images @ prompts.features(backbone, vectors).T
            loss = F.cross_entropy(logits, labels[indices].to(backbone.device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.detach())
        loss_before = float(torch.stack(losses).mean())
        yield _state(epoch + 1, loss_before, vectors, optimizer)


def _state(
    epoch: int, loss: float, vectors: Tensor, optimizer: torch.optim.Optimizer, within: WithinEpoch | None = None
) -> TrainerState:
    momentum = optimizer.state[vectors]["momentum_buffer"]
    return TrainerState(
        epoch=epoch,
        loss=loss,
        vectors=vectors.detach().cpu().clone(),
        momentum=momentum.cpu().clone(),
        within=within,
    )


def _state_within(
    epoch: int,
    loss: float,
    losses: list[Tensor],
    generator: torch.Generator,
    vectors: Tensor,
    optimizer: torch.optim.Optimizer,
) -> TrainerState:
    done = torch.stack(losses).cpu() if losses else torch.zeros(0)
    return _state(epoch, loss, vectors, optimizer, WithinEpoch(losses=done, generator=generator.get_state()))


def image_features(
    backbone: Backbone, images: Tensor, params: FewShotParams, noise: UnitNoise = on_model_input
) -> FeatureSource:
    """Returns a source of features of `images` (N, 3, H, W), augmented, changed and noisy as `params` say.

    Images that stay as they are are encoded once.
    """
    levels = torch.tensor(params.sigmas)

    @torch.no_grad()
    def encode(indices: Tensor, generator: torch.Generator) -> Tensor:
        batch = images[indices].float()
        if params.augment:
            batch = crop_and_flip(batch, generator)
        if params.acquisition is not None:
            batch = change_acquisition(batch, params.acquisition, generator)
        if len(levels):
            sigma = levels[torch.randint(len(levels), (len(batch), 1, 1, 1), generator=generator)]
            batch = batch + sigma * noise(batch, generator)
        return backbone.encode_image(batch)

    if params.augment or params.acquisition is not None or len(levels):
        return encode
    unused = torch.Generator()
    parts = [encode(indices, unused) for indices in torch.split(torch.arange(len(images)), params.batch_size)]
    features = torch.cat(parts)
    return lambda indices, _: features[indices.to(features.device)]


def random_context(backbone: Backbone, n_classes: int, params: FewShotParams) -> ContextVectors:
    """Returns the random context vectors from which training starts."""
    return ContextVectors.random(
        params.n_ctx,
        backbone.text_width,
        seeded(params.seed, "context"),
        n_classes=n_classes if params.class_specific else None,
        position=params.position,
    )


def sample_shots(labels: Tensor, n_classes: int, shots: int, seed: int) -> Tensor:
    """Returns the indices of `shots` random items of each class, all of a class that has fewer; class by class.

    Raises:
        ValueError: for a label outside 0..n_classes-1 or a class without an item.
    """
    counts = torch.bincount(labels, minlength=n_classes)
    if len(counts) != n_classes or int(counts.min()) == 0:
        raise ValueError(f"each of {n_classes} classes needs a labelled image, got counts {counts.tolist()}")
    generator = seeded(seed, "shots")
    chosen = []
    for label in range(n_classes):
        items = torch.nonzero(labels == label).flatten()
        chosen.append(items[torch.randperm(len(items), generator=generator)[:shots]])
    return torch.cat(chosen)


def _batches(n_items: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    batches = torch.split(torch.randperm(n_items, generator=generator), batch_size)
    full = [batch for batch in batches if len(batch) == batch_size]
    return full or list(batches)
