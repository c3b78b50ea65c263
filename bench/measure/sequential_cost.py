"""Samples that a target radius saves: of the rule alone, and of real certificates on MedNIST against all n samples.

    python -m certrad.bench sequential-cost --pure
    python -m certrad.bench sequential-cost --data mednist.zip --journal sequential.jsonl --out sequential.json

Each image is certified with all n samples once; a target radius is then decided on the same labels, in order, so that
both certificates are paired on the same noise. Every image is one line of the journal; a run that was stopped goes on
where it ended. In the end a few images are really certified with the first target, side by side with the plain loop.
"""

import argparse
import hashlib
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from certrad.bench.common import plain_loop
from certrad.bench.common.architectures import load_clip
from certrad.bench.common.classifier import tuned_on, with_adapter
from certrad.bench.common.journal import Lines
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.noisy_images import as_input, learned_prompt, prompt_card
from certrad.bench.common.options import add_dtype
from certrad.bench.common.sequential_records import Record, Settings, summarise
from certrad.bench.common.sequential_simulation import pure_table
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import DTYPES, chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, find_weights, pinned, write_json
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import TextHead
from certrad.models.prompts.bank import answers
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing import certify
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.models.types import SmoothingParams

SECRET: Final = b"python -m certrad.bench sequential-cost"
"""Published, unlike an installation's: anyone can draw the same noise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """A grey image (H, W) of the test split, and its true class."""

    index: int
    pixels: NDArray[np.uint8]
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Seconds of one image: a sequential certificate as it is really made, and the plain loop scaled to n0 + n."""

    index: int
    samples_used: int
    certificate: float
    plain: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--pure", action="store_true", help="only the rule, on simulated labels")
    parser.add_argument("--runs", type=int, default=200, help="of each case, with --pure")
    parser.add_argument("--data", type=Path, help="mednist.zip")
    parser.add_argument("--journal", type=Path, help="scratch file, one JSON line an image")
    parser.add_argument("--out", type=Path, help="result")
    parser.add_argument("--prompt", help="checkpoint or bank; default: the default prompt of the task")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")
    parser.add_argument("--images", type=int, default=102, help="rounded up to as many of each class")
    parser.add_argument("--sigma", type=float, default=SmoothingParams().sigma)
    parser.add_argument("--targets", type=float, nargs="+", default=[1.0, 0.5], help="target radii, in sigma")
    parser.add_argument("--n0", type=int, default=SmoothingParams().n0)
    parser.add_argument("--n", type=int, default=SmoothingParams().n)
    parser.add_argument("--timed-images", type=int, default=6)
    parser.add_argument("--plain-samples", type=int, default=1000, help="of the plain loop, then scaled to n0 + n")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="each computes in one thread")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures what the journal lacks, then writes and prints the result."""
    if arguments.pure:
        print(pure_table(arguments.runs, arguments.seed))
        return
    machine, settings = this_machine(), study_settings(arguments)
    images = read_split(arguments.data, "test")
    chosen = equal_sample(images.labels, len(settings.class_names), arguments.images, arguments.seed)
    todo = [Image(index=index, pixels=images.pixels[index], label=int(images.labels[index])) for index in chosen]
    journal = Lines(arguments.journal, settings, Record.from_json)
    done = {record.index for record in journal.records}
    for record in measured([image for image in todo if image.index not in done], settings, arguments):
        journal.append(record)
    of_index = {record.index: record for record in journal.records}
    records = [of_index[index] for index in chosen]
    targets = [round(target * settings.sigma, 4) for target in arguments.targets]
    results = [summarise(records, settings, target) for target in targets]
    torch.set_num_threads(1)
    study = Study(settings, arguments.prompts)
    study.clock(todo[0], targets[0], plain_loop.BATCH_SIZE)  # the first passes prepare kernels and memory
    clocks = [study.clock(image, targets[0], arguments.plain_samples) for image in todo[: arguments.timed_images]]
    document = {
        "settings": asdict(settings),
        "alpha": settings.params.alpha,
        "bound": settings.params.bound,
        "results": [asdict(result) for result in results],
        "clocks": [asdict(clock) for clock in clocks],
        "speedup_vs_plain_loop": statistics.mean(c.plain for c in clocks)
        / statistics.mean(c.certificate for c in clocks),
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    print(json.dumps(document, indent=2))


def study_settings(arguments: argparse.Namespace) -> Settings:
    """The settings that the options, the task card and the files on disk give."""
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[task.default_backbone]
    directory = weights_directory(card, Path("backbones"))
    if not (prompt := arguments.prompt or task.default_prompt):
        raise ValueError("the task has no default prompt; name one with --prompt")
    return Settings(
        backbone=card.id,
        backbone_sha256=file_sha256(find_weights(pinned(card, directory), directory)),
        prompt=prompt,
        class_names=task.class_names,
        sigma=arguments.sigma,
        n0=arguments.n0,
        n=arguments.n,
        batch_size=BATCH_SIZE,
        data_sha256=file_sha256(arguments.data),
        seed=arguments.seed,
        dtype=dtype_name(chosen_dtype(arguments.dtype, torch.device("cpu"))),
    )


class Study:
    """The classifier whose certificates are counted, and the same model for the plain loop."""

    def __init__(self, settings: Settings, prompts: Path) -> None:
        self.settings = settings
        self.card = shipped_backbones()[settings.backbone]
        directory = Path("backbones")
        frozen = load_backbone(self.card, weights_directory(self.card, directory), dtype=DTYPES[settings.dtype])
        self.backbone = with_adapter(frozen, tuned_on([prompt_card(prompts, settings.prompt)]))
        prompt = learned_prompt(self.backbone, prompts, settings.prompt)
        with torch.inference_mode():
            head = TextHead.of_prompt(self.backbone, answers(prompt, settings.class_names), prompt)
        self.classifier = head.classifier(self.backbone, settings.sigma)
        self.plain_model = load_clip(self.card, directory)

    def measure(self, image: Image) -> Record:
        """Certifies an image with all n samples."""
        made = certify(as_input(image.pixels), self.classifier, self.settings.params, key=self.noise_key(image))
        return Record(
            index=image.index,
            label=image.label,
            selection=(*made.selection.per_class, made.selection.invalid),
            labels=made.estimation.labels.hex(),
        )

    def clock(self, image: Image, target: float, plain_samples: int) -> Clock:
        """Times one certificate with a target radius as it is really made, and some samples of the plain loop."""
        pixels, params = as_input(image.pixels), replace(self.settings.params, target_radius=target)
        mean, std = self.card.mean, self.card.std
        normalised = plain_loop.normalise(torch.from_numpy(pixels)[None], mean, std)[0]
        prompts = plain_loop.full_length_prompts(self.backbone, self.settings.class_names, "{}")
        began = time.perf_counter()
        made = certify(pixels, self.classifier, params, key=self.noise_key(image))
        between = time.perf_counter()
        plain_loop.count_labels(
            self.plain_model, normalised, prompts, mean=mean, std=std, sigma=params.sigma, n=plain_samples
        )
        ended = time.perf_counter()
        return Clock(
            index=image.index,
            samples_used=made.samples_used,
            certificate=between - began,
            plain=(ended - between) / plain_samples * (params.n0 + params.n),
        )

    def noise_key(self, image: Image) -> bytes:
        """The noise key of one image, the same with and without a target."""
        settings_sha256 = hashlib.sha256(json.dumps(asdict(self.settings), sort_keys=True).encode()).hexdigest()
        return noise_key(SECRET, hashlib.sha256(as_input(image.pixels).tobytes()).hexdigest(), settings_sha256)


def measured(todo: Sequence[Image], settings: Settings, arguments: argparse.Namespace) -> Iterator[Record]:
    """The records of some images, with a progress bar."""
    if not todo:
        return
    with ProcessPoolExecutor(
        arguments.processes,
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(settings, arguments.prompts),
    ) as pool:
        yield from tqdm(pool.map(_measure, todo), total=len(todo), unit="image")


_study: Study
"""The study of a worker process, loaded once by `_start`."""


def _start(settings: Settings, prompts: Path) -> None:
    global _study  # what the initializer of a process pool is for
    torch.set_num_threads(1)
    _study = Study(settings, prompts)


def _measure(image: Image) -> Record:
    return _study.measure(image)
