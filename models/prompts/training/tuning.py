"""A prompt tuned from labelled images: the one trainer and AdvPT's bank, in steps that a caller may stop and resume.

Nothing here knows disks, queues or clocks; what is random is fixed by the seed of the parameters.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.pgd import PgdParams
from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors, layout, text_features
from certrad.models.prompts.training.embedding_bank import (
    EMBEDDING_BANK_BATCH,
    embedding_bank_features,
    embedding_bank_rows,
)
from certrad.models.prompts.training.trainer import (
    FeatureSource,
    FewShotParams,
    TrainerState,
    image_features,
    initial_context,
    train_epochs,
)
from certrad.models.randomness import seeded
from certrad.models.smoothing import labels as labels_of
from certrad.models.types.tuning import TuningParams

_ENCODED_TOGETHER: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TuningSet:
    """The images a prompt is tuned on, and others that it is measured on.

    images: (N, 3, S, S) float32 in [0, 1] at the backbone's input size. labels: (N,) int64, of all classes.
    validation_images, validation_labels: the same of V images, none of them among the first; V may be 0.
    """

    images: Tensor
    labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(images.shape) for images in (self.images, self.validation_images)]
        if len({shape[1:] for shape in shapes}) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3 or not shapes[0][0]:
            raise ValueError(f"images (N, 3, S, S) and (V, 3, S, S) with N > 0 are required, got {shapes}")
        sizes = [len(self.images), len(self.validation_images)]
        if [len(self.labels), len(self.validation_labels)] != sizes:
            raise ValueError(f"{sizes} labels are required, got {len(self.labels)} and {len(self.validation_labels)}")

    @property
    def sha256(self) -> str:
        """SHA-256 over shape, float32 pixels and labels of what is tuned on: the identity of the data."""
        hasher = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        for image in self.images:
            hasher.update(image.contiguous().numpy().astype("<f4").tobytes())
        hasher.update(self.labels.numpy().astype("<i8").tobytes())
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """A tuned prompt with what its card says: how it was tuned, and the figures measured on the other images."""

    context: ContextVectors
    tuning: dict[str, Any]
    measured: dict[str, Any]


def trainer_params(params: TuningParams) -> FewShotParams:
    """The hyper-parameters of the one trainer.

    `coop` crops and flips at random, as every released configuration of CoOp does (Zhou et al. 2022); `few_shot` has
    noise in the place of that, and `advpt` learns from embeddings, which nothing is done to.
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
    )


def attack_params(params: TuningParams) -> PgdParams:
    """The attack that AdvPT's bank is made with: PGD-10 within 8/255, the paper's."""
    return PgdParams(seed=params.seed)


def require_fit(backbone: Backbone, class_names: Sequence[str], params: TuningParams) -> None:
    """Raises `prompt_too_long` where the prompts could not be laid out; before any image is encoded."""
    layout(backbone, class_names, initial_context(backbone, len(class_names), trainer_params(params)))


def bank_starts(n_images: int) -> range:
    """Where the batches of an adversarial embedding bank begin."""
    return range(0, n_images, EMBEDDING_BANK_BATCH)


def bank_rows(backbone: Backbone, data: TuningSet, params: TuningParams, start: int) -> Tensor:
    """The rows (b, D) of one batch of the bank; those of all `bank_starts`, one below the other, are the bank."""
    return embedding_bank_rows(backbone, data.images, attack_params(params), start)


def tune_epochs(
    backbone: Backbone,
    data: TuningSet,
    class_names: Sequence[str],
    params: TuningParams,
    *,
    bank: Tensor | None = None,
    resume: TrainerState | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> Iterator[TrainerState]:
    """The state after each epoch, and first a given state to resume from.

    bank: (N, D), of `advpt` and of nothing else. on_batch: called before every batch; what it raises stops the tuning.
    The same seed gives the same vectors, bit for bit, on one machine, also when resumed after any epoch.
    """
    rows = 0 if bank is None else len(bank)
    if rows != (len(data.images) if params.method == "advpt" else 0):
        raise ValueError(f"a bank of all images is required for advpt, and none else; got {params.method}, {rows} rows")
    trainer = trainer_params(params)
    source = image_features(backbone, data.images, trainer) if bank is None else embedding_bank_features(bank)
    yield from train_epochs(backbone, _announced(source, on_batch), data.labels, class_names, trainer, resume=resume)


def finish(
    backbone: Backbone,
    data: TuningSet,
    class_names: Sequence[str],
    params: TuningParams,
    state: TrainerState,
    losses: Sequence[float],
    *,
    on_batch: Callable[[], None] = lambda: None,
) -> Tuned:
    """The prompt of the last state, measured; losses: the mean of each epoch, in order."""
    if not state.epoch == len(losses) == params.epochs:
        raise ValueError(f"{params.epochs} epochs are required, got {state.epoch} and {len(losses)} losses")
    context = ContextVectors(vectors=state.vectors, position=params.position)
    facts = asdict(trainer_params(params)) | {
        "shots": params.shots,
        "training_images": len(data.images),
        "data_sha256": data.sha256,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "losses": [round(loss, 6) for loss in losses],
    }
    if params.method == "advpt":
        facts["attack"] = asdict(attack_params(params))
    measured = _measured(backbone, data, class_names, context, params, on_batch)
    return Tuned(context=context, tuning=facts, measured=measured)


def _measured(
    backbone: Backbone,
    data: TuningSet,
    class_names: Sequence[str],
    context: ContextVectors,
    params: TuningParams,
    on_batch: Callable[[], None],
) -> dict[str, Any]:
    """Accuracy on the validation images, without noise and on one noisy copy of each at every level."""
    if not len(data.validation_images):
        return {}
    levels = params.sigmas or TuningParams.published("few_shot").sigmas
    with torch.no_grad():
        texts = text_features(backbone, class_names, context)
        clean, *noisy = (
            _accuracy(backbone, data, texts, sigma, seeded(params.seed, "validation", repr(sigma)), on_batch)
            for sigma in (0.0, *levels)
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


def _accuracy(
    backbone: Backbone,
    data: TuningSet,
    texts: Tensor,
    sigma: float,
    generator: torch.Generator,
    on_batch: Callable[[], None],
) -> float:
    correct = 0
    for indices in torch.split(torch.arange(len(data.validation_images)), _ENCODED_TOGETHER):
        images, truth = data.validation_images[indices], data.validation_labels[indices]
        on_batch()
        noisy = images.float() + sigma * torch.randn(images.shape, generator=generator)
        features = F.normalize(backbone.encode_image(noisy).float(), dim=-1)
        correct += int((labels_of(features @ texts.T) == truth.numpy()).sum())
    return round(correct / len(data.validation_labels), 4)


def _announced(source: FeatureSource, on_batch: Callable[[], None]) -> FeatureSource:
    def announced(indices: Tensor, generator: torch.Generator) -> Tensor:
        on_batch()
        return source(indices, generator)

    return announced
