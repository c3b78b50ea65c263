"""Measures the coverage of prediction sets on MedNIST, clean and under attack, beside two other ways to make them.

    python -m certrad.bench prediction-sets --data mednist.zip --journal sets.jsonl --out sets.json

Calibration and test images are disjoint random samples of the test split, as many of each class; no prompt or adapter
was made from one of them. Each test image is attacked on its own grid, 0..255 in each of three channels, towards the
class that comes nearest. A run that was stopped goes on where the journal ends.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from certrad.bench.common.classifier import default_choice, default_classifier
from certrad.bench.common.journal import Lines
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, LabelledImages, equal_sample, read_split
from certrad.bench.common.options import add_dtype, add_threads, use_threads
from certrad.bench.common.set_coverage import SetRecord, as_markdown, summarise
from certrad.models.attacks.smooth_adv import SmoothAdv, attack
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.randomness import seeded
from certrad.models.shipped import shipped_tasks
from certrad.models.smoothing import Noise, NoisySampler, Stream, count
from certrad.models.smoothing.labelling import label_batches
from certrad.models.types.pixels import WHITE

_SECRET: Final = b"python -m certrad.bench prediction-sets"
_AIM_DRAWS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSettings:
    """Everything that decides the counts, beside the images."""

    sigma: float
    n: int
    radii: tuple[float, ...]
    attack: SmoothAdv
    calibration: int
    seed: int
    dtype: str
    prompt: str
    adapter: str | None
    data_sha256: str

    @property
    def sha256(self) -> str:
        """Digest of what the noise of an image depends on."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--journal", type=Path, required=True, help="scratch file, one JSON line an image")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--calibration", type=int, default=720, help="calibration images, as many of each class")
    parser.add_argument("--images", type=int, default=1002, help="test images, as many of each class")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--n", type=int, default=50, help="samples of each image")
    parser.add_argument("--radii", type=float, nargs="+", default=[0.25, 0.5], help="L2 norms of the attacks")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.1, 0.05, 0.02])
    parser.add_argument("--steps", type=int, default=6, help="steps of the attack")
    parser.add_argument("--draws", type=int, default=6, help="noisy copies of each step of the attack")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images and of all noise")
    parser.add_argument("--finished", action="store_true", help="summarise what the journal has, and compute nothing")
    add_dtype(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Count what the journal lacks, then write and print the coverage."""
    use_threads(arguments)
    machine, choice, classifier_at = this_machine(), default_choice(), default_classifier(arguments.dtype)
    classifier = classifier_at(arguments.sigma)
    settings = SetSettings(
        sigma=arguments.sigma,
        n=arguments.n,
        radii=tuple(arguments.radii),
        attack=SmoothAdv(steps=arguments.steps, draws=arguments.draws, step=2.0 / arguments.steps),
        calibration=arguments.calibration,
        seed=arguments.seed,
        dtype=classifier.backbone.precision,
        prompt=choice.prompt_id,
        adapter=choice.adapter_id,
        data_sha256=file_sha256(arguments.data),
    )
    journal = Lines(arguments.journal, settings, SetRecord.from_json)
    if not arguments.finished:
        _count_missing(journal, settings, classifier, read_split(arguments.data, "test"), arguments.images)
    records = journal.records[: arguments.calibration + arguments.images]
    calibration, test = records[: arguments.calibration], records[arguments.calibration :]
    rows = summarise(calibration, test, settings.n, settings.sigma, settings.radii, arguments.betas)
    names = shipped_tasks()[TASK].class_names
    document = {
        "settings": asdict(settings),
        "test_images": len(test),
        "rows": [asdict(row) for row in rows],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = as_markdown(rows, names)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def _count_missing(
    journal: Lines[SetRecord],
    settings: SetSettings,
    classifier: VisionLanguageClassifier,
    split: LabelledImages,
    images: int,
) -> None:
    """Counts the labels of every image that the journal lacks, calibration images first."""
    chosen = equal_sample(split.labels, classifier.n_classes, settings.calibration + images, settings.seed)
    left = list(enumerate(chosen))[len(journal.records) :]
    for place, index in tqdm(left, unit="image"):
        pixels = np.repeat(split.pixels[index][None], 3, axis=0)
        radii = () if place < settings.calibration else settings.radii
        label = int(split.labels[index])
        attacked = tuple(
            _counts(each, classifier, settings) for each in _attacked(pixels, label, radii, classifier, settings)
        )
        journal.append(
            SetRecord(index=index, label=label, clean=_counts(pixels, classifier, settings), attacked=attacked)
        )


def _counts(pixels: NDArray[np.uint8], classifier: VisionLanguageClassifier, settings: SetSettings) -> tuple[int, ...]:
    """Returns the samples of each class, under noise whose key depends on the pixels: an attack does not know it."""
    image = pixels.astype(np.float32) / np.float32(WHITE)
    key = noise_key(_SECRET, hashlib.sha256(image.tobytes()).hexdigest(), settings.sha256)
    sampler = NoisySampler(
        image=image, sigma=settings.sigma, noise=Noise(key), batch_size=settings.n, device=classifier.device
    )
    ((_, labels),) = label_batches(sampler, classifier, Stream.ESTIMATE, [0])
    return count(labels, classifier.n_classes).per_class


def _attacked(
    pixels: NDArray[np.uint8],
    label: int,
    radii: tuple[float, ...],
    classifier: VisionLanguageClassifier,
    settings: SetSettings,
) -> Iterator[NDArray[np.uint8]]:
    """Yields the image altered by each radius, towards the wrong class that noisy copies are nearest to."""
    if not radii:
        return
    name = hashlib.sha256(pixels.tobytes()).hexdigest()
    generator = seeded(settings.seed, "attack", name)
    x = torch.from_numpy(pixels.astype(np.float32) / np.float32(WHITE))
    with torch.no_grad():
        noise = torch.randn((_AIM_DRAWS, *x.shape), generator=generator) * settings.sigma
        mean = torch.log_softmax(classifier.logits(x + noise).float(), dim=-1).mean(0)
    mean[label] = -torch.inf
    for radius in radii:
        yield attack(
            pixels,
            classifier.logits,
            target=int(mean.argmax()),
            sigma=settings.sigma,
            radius=radius,
            params=settings.attack,
            generator=generator,
        )
