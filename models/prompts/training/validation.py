"""The accuracy of a learned prompt on validation images, measured in steps that a caller may stop and resume."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.training.noise import UnitNoise, on_model_input
from certrad.models.randomness import seeded
from certrad.models.smoothing import labels as predicted_labels

_ENCODED_TOGETHER: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredSoFar:
    """What has been measured, and where the measurement goes on.

    Attributes:
        accuracies: of the noise levels that are done.
        images: images of the next level that are done.
        correct: how many of them were right.
        generator: state of that level's generator.
    """

    accuracies: tuple[float, ...]
    images: int
    correct: int
    generator: Tensor

    def to_bytes(self) -> bytes:
        """Returns the measurement as a safetensors file."""
        content: bytes = save(
            {
                "accuracies": torch.tensor(self.accuracies, dtype=torch.float64),
                "counts": torch.tensor([self.images, self.correct]),
                "generator": self.generator,
            }
        )
        return content

    @staticmethod
    def from_bytes(content: bytes) -> "MeasuredSoFar":
        """Returns the measurement in a safetensors file.

        Args:
            content: the file.

        Raises:
            Rejected: invalid_checkpoint.
        """
        try:
            tensors = load(content)
            images, correct = tensors["counts"].tolist()
            accuracies = tuple(tensors["accuracies"].tolist())
            return MeasuredSoFar(accuracies=accuracies, images=images, correct=correct, generator=tensors["generator"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise Rejected("invalid_checkpoint", f"the content is not a measurement: {type(error).__name__}") from error


BeforeBatch = Callable[[MeasuredSoFar], None]
"""Is called before every batch with the measurement so far; an exception from it stops the measurement."""


def measure_accuracies(
    backbone: Backbone,
    images: Tensor,
    truth: Tensor,
    texts: Tensor,
    levels: Sequence[float],
    *,
    seed: int,
    resume: MeasuredSoFar | None = None,
    on_batch: BeforeBatch = lambda _: None,
    noise: UnitNoise = on_model_input,
) -> list[float]:
    """Returns the accuracy on one noisy copy of each image at every level; the same, however often it is resumed.

    Args:
        backbone: the frozen backbone.
        images: (V, 3, S, S) in [0, 1], V > 0.
        truth: (V,) the labels.
        texts: (K, D) text features.
        levels: noise standard deviations.
        seed: random seed.
        resume: the measurement to go on with.
        on_batch: is called before every batch.
        noise: what the noise is added to.
    """
    accuracies = list(resume.accuracies) if resume else []
    for sigma in levels[len(accuracies) :]:
        generator, done, correct = seeded(seed, "validation", repr(sigma)), 0, 0
        if resume:
            done, correct = resume.images, resume.correct
            generator.set_state(resume.generator)
            resume = None
        for indices in torch.split(torch.arange(done, len(images)), _ENCODED_TOGETHER):
            on_batch(
                MeasuredSoFar(
                    accuracies=tuple(accuracies),
                    images=int(indices[0]),
                    correct=correct,
                    generator=generator.get_state(),
                )
            )
            clean = images[indices].float()
            noisy = clean + sigma * noise(clean, generator)
            features = F.normalize(backbone.encode_image(noisy).float(), dim=-1)
            correct += int((predicted_labels(features @ texts.T) == truth[indices].numpy()).sum())
        accuracies.append(round(correct / len(images), 4))
    return accuracies
