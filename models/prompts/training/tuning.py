"""Tuning of a prompt from labelled images, by the trainer and AdvPT's bank, in steps that a caller may stop and resume.

Nothing here accesses disks, queues or clocks; the seed of the parameters fixes all randomness.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from certrad.models.attacks.pgd import PgdParams
from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors, layout, text_features
from certrad.models.prompts.training.acquisition import RANGES
from certrad.models.prompts.training.embedding_bank import (
    EMBEDDING_BANK_BATCH,
    embedding_bank_features,
    embedding_bank_rows,
)
from certrad.models.prompts.training.noise import unit_noise
from certrad.models.prompts.training.trainer import FewShotParams, image_features, random_context, train_epochs
from certrad.models.prompts.training.trainer_state import TrainerState
from certrad.models.prompts.training.validation import BeforeBatch, MeasuredSoFar, measure_accuracies
from certrad.models.types.noise_space import ImageMap
from certrad.models.types.tuning import TuningParams


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TuningSet:
    """The images for tuning a prompt, and others for measuring it.

    Attributes:
        images: (N, 3, S, S) float32 in [0, 1] at the backbone's input size.
        labels: (N,) int64, of all classes.
        validation_images: (V, 3, S, S), none of them among `images`; V may be 0.
        validation_labels: (V,) int64.
        image_map: how the images that were sent became these, for noise on those; None for noise on these.
    """

    images: Tensor
    labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    image_map: ImageMap | None = None

    def __post_init__(self) -> None:
        shapes = [tuple(images.shape) for images in (self.images, self.validation_images)]
        if len({shape[1:] for shape in shapes}) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3 or not shapes[0][0]:
            raise ValueError(f"images must have the shapes (N, 3, S, S) and (V, 3, S, S) with N > 0, got {shapes}")
        sizes = [len(self.images), len(self.validation_images)]
        if [len(self.labels), len(self.validation_labels)] != sizes:
            raise ValueError(f"there must be {sizes} labels, got {len(self.labels)} and {len(self.validation_labels)}")

    @property
    def sha256(self) -> str:
        """SHA-256 over shape, float32 pixels and labels of the images for tuning: the identity of the data."""
        hasher = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        for image in self.images:
            hasher.update(image.contiguous().numpy().astype("<f4").tobytes())
        hasher.update(self.labels.numpy().astype("<i8").tobytes())
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TunedPrompt:
    """A tuned prompt with the facts for its card.

    Attributes:
        context: the context vectors.
        tuning: how it was tuned.
        measured: figures measured on the other images.
    """

    context: ContextVectors
    tuning: dict[str, Any]
    measured: dict[str, Any]


def trainer_params(params: TuningParams) -> FewShotParams:
    """Returns the hyper-parameters of the trainer.

    `coop` crops and flips at random, as every released configuration of CoOp does (Zhou et al. 2022); `few_shot` adds
    noise instead, and `advpt` learns from unchanged embeddings.
    """
    return FewShotParams(
        epochs=params.epochs,
        lr=params.lr,
        batch_size=params.batch_size,
        n_ctx=params.n_ctx,
        class_specific=params.class_specific,
        position=params.position,
        sigmas=params.sigmas,
        augment=params.method == "coop",
        seed=params.seed,
        acquisition=RANGES[params.acquisition],
    )


def attack_params(params: TuningParams) -> PgdParams:
    """Returns the attack that makes AdvPT's bank: PGD-10 within 8/255, the paper's."""
    return PgdParams(seed=params.seed)


def require_fit(backbone: Backbone, class_names: Sequence[str], params: TuningParams) -> None:
    """Checks that the prompts can be laid out, before any image is encoded.

    Raises:
        Rejected: prompt_too_long if they cannot.
    """
    layout(backbone, class_names, random_context(backbone, len(class_names), trainer_params(params)))


def bank_starts(n_images: int) -> range:
    """Returns the image at which each batch of an adversarial embedding bank begins."""
    return range(0, n_images, EMBEDDING_BANK_BATCH)


def bank_rows(backbone: Backbone, data: TuningSet, params: TuningParams, start: int) -> Tensor:
    """Returns the rows (b, D) of one batch of the bank; the bank is the rows of all `bank_starts`, concatenated."""
    return embedding_bank_rows(backbone, data.images, attack_params(params), start)


def tune_epochs(
    backbone: Backbone,
    data: TuningSet,
    class_names: Sequence[str],
    params: TuningParams,
    *,
    bank: Tensor | None = None,
    resume: TrainerState | None = None,
    on_batch: Callable[[Callable[[], TrainerState]], None] = lambda _: None,
) -> Iterator[TrainerState]:
    """Yields the state after each epoch; before them, the given state to resume from.

    The same seed gives the same vectors, bit for bit, on one machine, also when resumed after any epoch or
    before any batch.

    Args:
        backbone: the frozen backbone.
        data: the images.
        class_names: K names.
        params: method and hyper-parameters.
        bank: (N, D), for `advpt` and for no other method.
        resume: state to continue from.
        on_batch: called before every batch with what returns the state at that point, from which the tuning can go on;
            an exception from it stops the tuning.

    Raises:
        ValueError: if the bank is missing, incomplete or not of use to the method.
    """
    rows = 0 if bank is None else len(bank)
    if rows != (len(data.images) if params.method == "advpt" else 0):
        raise ValueError(f"advpt needs a bank of all images, other methods none; got {params.method} with {rows} rows")
    trainer, noise = trainer_params(params), unit_noise(data.image_map, backbone.image_size)
    source = image_features(backbone, data.images, trainer, noise) if bank is None else embedding_bank_features(bank)
    yield from train_epochs(backbone, source, data.labels, class_names, trainer, resume=resume, on_batch=on_batch)


def finish(
    backbone: Backbone,
    data: TuningSet,
    class_names: Sequence[str],
    params: TuningParams,
    state: TrainerState,
    losses: Sequence[float],
    *,
    resume: MeasuredSoFar | None = None,
    on_batch: BeforeBatch = lambda _: None,
) -> TunedPrompt:
    """Returns the prompt of the last state, measured on the validation images.

    Args:
        backbone: the frozen backbone.
        data: the images.
        class_names: K names.
        params: method and hyper-parameters.
        state: the last state.
        losses: the mean loss of each epoch, in order.
        resume: the measurement to go on with.
        on_batch: called before every batch; an exception from it stops the measurement.

    Raises:
        ValueError: if the state is not the last one, or losses are missing.
    """
    if not state.epoch == len(losses) == params.epochs:
        raise ValueError(f"tuning must end after {params.epochs} epochs, got {state.epoch} with {len(losses)} losses")
    context = ContextVectors(vectors=state.vectors, position=params.position)
    facts = asdict(trainer_params(params)) | {
        "shots": params.shots,
        "training_images": len(data.images),
        "data_sha256": data.sha256,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "losses": [round(loss, 6) for loss in losses],
    }
    if data.image_map is not None:
        facts |= {"noise_space": "image", "images": asdict(data.image_map)}
    if params.method == "advpt":
        facts["attack"] = asdict(attack_params(params))
    measured = _measure(backbone, data, class_names, context, params, resume, on_batch)
    return TunedPrompt(context=context, tuning=facts, measured=measured)


def _measure(
    backbone: Backbone,
    data: TuningSet,
    class_names: Sequence[str],
    context: ContextVectors,
    params: TuningParams,
    resume: MeasuredSoFar | None,
    on_batch: BeforeBatch,
) -> dict[str, Any]:
    """Returns the accuracy on the validation images, without noise and on one noisy copy of each at every level."""
    if not len(data.validation_images):
        return {}
    levels = params.sigmas or TuningParams.published("few_shot").sigmas
    with torch.no_grad():
        clean, *noisy = measure_accuracies(
            backbone,
            data.validation_images,
            data.validation_labels,
            text_features(backbone, class_names, context),
            (0.0, *levels),
            seed=params.seed,
            resume=resume,
            on_batch=on_batch,
            noise=unit_noise(data.image_map, backbone.image_size),
        )
    return {
        "validation": {
            "images": len(data.validation_images),
            "clean_accuracy": clean,
            "noisy_accuracy": [
                {"sigma": sigma, "accuracy": accuracy} for sigma, accuracy in zip(levels, noisy, strict=True)
            ],
            "seed": params.seed,
        }
    }
