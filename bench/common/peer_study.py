"""What `bench peers` compares: one classifier, some images, and the answers of every system for each of them."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from certrad.bench.common.classifier import tuned_on, with_adapter
from certrad.bench.common.head_slice import head_slice
from certrad.bench.common.mednist import SIDE, TASK
from certrad.bench.common.noisy_images import as_input, learned_prompt, prompt_card
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import DTYPES
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts.bank import answers
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types import SmoothingParams

TEMPLATE: Final = "template"
"""In place of a prompt's id: the hand-written template of the task."""
_HEAD: Final = "head CT"
_BRIGHTEST: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierChoice:
    """The one classifier that every system smooths, in words that another process can load it by.

    Attributes:
        backbone: Id of the backbone.
        backbones: Folder of fetched backbones.
        prompt: Id of a prompt checkpoint or a bank, or `template`.
        prompts: Folder of prompt checkpoints.
        dtype: Name of the precision of the image encoder.
        sigma: Noise level, which the gate of a bank is told.
    """

    backbone: str
    backbones: str
    prompt: str
    prompts: str
    dtype: str
    sigma: float

    def load(self) -> VisionLanguageClassifier:
        """Returns the classifier over the classes of the task."""
        card, task = shipped_backbones()[self.backbone], shipped_tasks()[TASK]
        backbone = load_backbone(card, weights_directory(card, Path(self.backbones)), dtype=DTYPES[self.dtype])
        if self.prompt == TEMPLATE:
            head = TextHead.of_template(backbone, task.class_names, task.template)
        else:
            backbone = with_adapter(backbone, tuned_on([prompt_card(Path(self.prompts), self.prompt)]))
            prompt = learned_prompt(backbone, Path(self.prompts), self.prompt)
            head = TextHead.of_prompt(backbone, answers(prompt, task.class_names), prompt)
        return head.classifier(backbone, self.sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the answers, beside the images, and how fast they are.

    Attributes:
        classifier: What is smoothed.
        backbone_sha256: Digest of its weights.
        params: sigma, alpha, n0, n and the bound, without a target radius.
        target_radius: The target radius of the system that has one.
        batch_size: Samples of one batch, in every system.
        threads: Threads of torch, and cores, in every system.
        data_sha256: Digest of the archive of images; None for drawn ones.
        art: Version of the Adversarial Robustness Toolbox; None where its environment is missing.
        seed: Of the choice of images and of all noise.
    """

    classifier: ClassifierChoice
    backbone_sha256: str
    params: SmoothingParams
    target_radius: float
    batch_size: int
    threads: int
    data_sha256: str | None
    art: str | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """An image (3, H, W) in [0, 1] and its true class."""

    index: int
    pixels: NDArray[np.float32]
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one system answered for one image.

    Attributes:
        class_index: The class; None is an abstention.
        radius: The certified radius, 0 with an abstention.
        samples: Noisy samples that the answer follows from.
        seconds: From the image in memory to the answer.
        processor_seconds: What all threads of the process computed in that time.
    """

    class_index: int | None
    radius: float
    samples: int
    seconds: float
    processor_seconds: float

    def __post_init__(self) -> None:
        if (self.class_index is None) and self.radius != 0:
            raise ValueError(f"an abstention has radius 0, got {self.radius!r}")


class Stopwatch:
    """Seconds and processor seconds of this process since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Returns the seconds and the processor seconds so far."""
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The answers of all systems for one image, measured one right after the other."""

    index: int
    label: int
    answers: Mapping[str, Answer]

    def to_json(self) -> str:
        """One line of the journal."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> "Round":
        """The inverse of `to_json`."""
        document = json.loads(line)
        answers = {name: Answer(**answer) for name, answer in document.pop("answers").items()}
        return Round(**document, answers=answers)


class System(Protocol):
    """A system that certifies images."""

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """Returns the answer by the name of the system; several where one set of samples is read in several ways.

        Args:
            image: (3, H, W), pixels of [0, 1].
            params: The parameters of CERTIFY.
            seed: Of the noise.
        """


def measure(systems: list[System], image: Image, params: SmoothingParams, seed: int, *, first: int) -> Round:
    """Lets every system certify one image, each in turn.

    Args:
        systems: The systems.
        image: The image.
        params: The parameters of CERTIFY.
        seed: Of the noise.
        first: Which system begins, counted around: no system always finds the machine as another leaves it.
    """
    start = first % len(systems)
    answers: dict[str, Answer] = {}
    for system in (*systems[start:], *systems[:start]):
        answers |= system.certify(image.pixels, params, seed + image.index)
    return Round(index=image.index, label=image.label, answers=answers)


def drawn_images(number: int, seed: int) -> list[Image]:
    """Returns drawn CT slices of a head, each with a lesion at a place of its own, for a run without data.

    Args:
        number: How many.
        seed: Of the places.
    """
    generator = np.random.default_rng(seed)
    label = shipped_tasks()[TASK].class_names.index(_HEAD)
    images = []
    for index in range(number):
        x, y = generator.uniform(-0.3, 0.3, 2)
        width, height = generator.uniform(0.04, 0.12, 2)
        slice_ = head_slice(SIDE, (int(generator.integers(20, 90)), (x, y), (width, height)))
        stored = np.frombuffer(slice_.PixelData, "<u2").reshape(SIDE, SIDE).astype(np.float64)
        bottom = slice_.WindowCenter - slice_.WindowWidth / 2
        share = (stored + slice_.RescaleIntercept - bottom) / slice_.WindowWidth
        grey = np.rint(np.clip(share, 0, 1) * _BRIGHTEST).astype(np.uint8)
        images.append(Image(index=index, pixels=as_input(grey), label=label))
    return images
