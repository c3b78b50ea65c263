"""Certificates for labelled images, one after the other, as rows of the field's table."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from certrad.models.backbones.base import Backbone
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import TextHead, VisionLanguageClassifier, prompt_in_force
from certrad.models.errors import Rejected
from certrad.models.evaluation.noised_image import NoisedImage
from certrad.models.images.pixel_map import PixelMap
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream, estimate, select
from certrad.models.smoothing.accuracy import RADII, Share
from certrad.models.smoothing.device import noise_law
from certrad.models.smoothing.encoded import EncodedSampler
from certrad.models.types import ETA, Certificate, ClassifierSpec, SmoothingParams, ZeroShotAdaptation
from certrad.models.types.total_variation import total_variation

COLUMNS: Final = ("idx", "label", "predict", "radius", "correct", "time")
ABSTAINED: Final = -1
REJECTED: Final = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The certification result of one image.

    Attributes:
        index: place of the image in the split.
        label: index of its true class.
        predict: the certified class, `REJECTED` for the extra class of a bank, or `ABSTAINED`.
        radius: certified radius, in pixels of [0, 1]; 0 for an abstention.
        seconds: time of adaptation, selection and estimation together.
    """

    index: int
    label: int
    predict: int
    radius: float
    seconds: float

    @property
    def correct(self) -> bool:
        """Returns whether the image was certified for its label."""
        return self.predict == self.label

    def to_line(self) -> str:
        """Returns the row of the table as in the code of Cohen et al. 2019, radius in full, time as h:mm:ss.ssssss."""
        time = timedelta(seconds=self.seconds)
        return "\t".join(map(str, (self.index, self.label, self.predict, self.radius, int(self.correct), time)))

    @staticmethod
    def from_line(line: str) -> "Row":
        """Returns the row that `to_line` wrote.

        Raises:
            ValueError: if the line has another format.
        """
        index, label, predict, radius, _, time = line.split("\t")
        days, _, clock = time.rpartition(", ")
        hours, minutes, seconds = clock.split(":")
        whole = 86_400 * int(days.split()[0] if days else 0) + 3_600 * int(hours) + 60 * int(minutes)
        return Row(
            index=int(index),
            label=int(label),
            predict=int(predict),
            radius=float(radius),
            seconds=whole + float(seconds),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """A base classifier to certify image by image.

    The result of an image is a function of the seed, its pixels and these attributes.

    Attributes:
        backbone: the loaded backbone.
        spec: the parts of the classifier; its class names are distinct, unlike those of ImageNet.
        classes: index of each class of `spec` among the labels; of two classes of one name, the index of the first.
        prompt: the prompt of the checkpoint that `spec` names; None for a template.
        params: parameters of the smoothing.
        seed: random seed of all noise.
        batch_size: noisy copies in one forward pass.
    """

    backbone: Backbone
    spec: ClassifierSpec
    classes: Sequence[int]
    prompt: ContextVectors | Bank | None
    params: SmoothingParams
    seed: int
    batch_size: int

    def certified(self, images: Iterable[tuple[int, int, NoisedImage]], clock: Callable[[], float]) -> Iterator[Row]:
        """Yields the row of each image.

        Args:
            images: for each image its place in the split, its label, and what noise is added to.
            clock: returns the time in seconds.
        """
        adapted = isinstance(self.spec.adaptation, ZeroShotAdaptation)
        fixed = None if adapted else self._classifier(self.prompt)
        for index, label, image in images:
            began, sampler = clock(), self.sampler(image)
            classifier = fixed or self._classifier(self._adapt(sampler))
            selection = select(sampler, classifier, self.params)
            outcome = estimate(sampler, classifier, self.params, selection, MemoryBlocks()).outcome
            certificate = outcome if isinstance(outcome, Certificate) else None
            yield Row(
                index=index,
                label=label,
                predict=ABSTAINED if certificate is None else self._label(certificate.class_index),
                radius=0.0 if certificate is None else certificate.radius,
                seconds=clock() - began,
            )

    def _label(self, class_index: int) -> int:
        return REJECTED if class_index == self.spec.rejection_index else self.classes[class_index]

    def sampler(self, image: NoisedImage) -> NoisySampler:
        """Returns the sampler of noisy copies of an image.

        It is the same for every prompt and adaptation, so that they can be compared.

        Raises:
            Rejected: image_too_large_for_noise.
        """
        pixels, law = image.pixels, noise_law(self.backbone.device)
        if not total_variation(law, self.params.sigma, pixels.size) <= ETA:
            raise Rejected(
                "image_too_large_for_noise", f"noise on {pixels.size} values is not allowed at {self.params.sigma:g}"
            )
        secret = hashlib.sha256(f"certrad evaluate {self.seed}".encode()).digest()
        space = "" if image.map is None else f" {image.map}"
        settings = hashlib.sha256(f"{pixels.shape} {self.params.sigma}{space}".encode()).hexdigest()
        digest = hashlib.sha256(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()).hexdigest()
        return NoisySampler(
            image=pixels,
            sigma=self.params.sigma,
            noise=Noise(noise_key(secret, digest, settings), law),
            batch_size=self.batch_size,
            device=self.backbone.device,
            pixel_map=None if image.map is None else PixelMap.of(image.map, self.backbone.image_size),
        )

    def _adapt(self, sampler: NoisySampler) -> ContextVectors | Bank | None:
        """Returns the prompt tuned on one image (Zero-Shot PromptSmooth)."""
        encoded = EncodedSampler(pixels=sampler, encode=self.backbone.encode_image)
        return prompt_in_force(
            self.backbone, self.spec, self.prompt, lambda samples: encoded.first(Stream.ADAPT, samples)
        )

    def _classifier(self, prompt: ContextVectors | Bank | None) -> VisionLanguageClassifier:
        return TextHead.of_spec(self.backbone, self.spec, prompt).classifier(self.backbone, self.params.sigma)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns the certified accuracy over the rows, each share with its 95% interval.

    Raises:
        ValueError: if there is no row.
    """
    images = len(rows)
    if not images:
        raise ValueError("a summary needs at least one image; got none")
    return {
        "images": images,
        "abstained": Share.of(sum(row.predict == ABSTAINED for row in rows), images),
        "rejected": Share.of(sum(row.predict == REJECTED for row in rows), images),
        "certified_accuracy": {
            f"{radius:g}": Share.of(sum(row.correct and row.radius >= radius for row in rows), images)
            for radius in RADII
        },
        "seconds_per_image": round(sum(row.seconds for row in rows) / images, 3),
    }
