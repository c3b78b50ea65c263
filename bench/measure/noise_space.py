"""Noise in the image's own grey levels against noise in the model input, at the same radius in grey levels.

    python -m certrad.bench noise-space --data mednist.zip --out noise-space.json [--tuned]

Every MedNIST image is certified twice: with noise sigma on the three channels of the model input, its radius pulled
back to grey levels by the norm L of the map between the two, as the service does; and with noise sigma / L on the grey
image itself, with the map inside the base classifier. Both can reach the same radius in grey levels, so what differs is
how well the classifier stands the noise. A smaller side makes the images smaller, by means of square blocks, before
either sees them. The prompt is the few-shot one that is shipped, tuned under noise in the model input at side 64; with
`--tuned`, one that is tuned on the spot for each side and kind of noise, by the recipe of the shipped one.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from certrad.bench.common.classifier import default_encoder
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import SIDE, TASK, LabelledImages, equal_sample, read_split
from certrad.bench.common.native_noise import Found, Job, Space, compare, smaller, tuned_text_features
from certrad.bench.common.noisy_images import learned_context
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.weights import write_json
from certrad.models.prompts.checkpoint import prompt_path, read_prompt_card
from certrad.models.prompts.context import text_features
from certrad.models.prompts.training.acquisition import AcquisitionRanges
from certrad.models.prompts.training.trainer import FewShotParams, sample_shots
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_tasks
from certrad.models.types import SmoothingParams

BACKBONE: Final = "demo"
SPACES: Final[tuple[Space, ...]] = ("model input", "image")
RADII: Final = (0, 5, 10, 20, 30, 40, 60, 80, 120, 160)
"""L2 radii in grey levels; 0 stands for certified at all."""

Texts = Mapping[tuple[int, Space], Tensor]
_loaded: tuple[Backbone, Texts]
"""Classifiers of a worker process, loaded once by `_start`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both kinds of noise on the same images: of each radius, how many images reach it with either, and with one only.

    The lists run over `RADII`.
    """

    side: int
    sigma: float
    native_sigma: float
    images: int
    model: list[int]
    native: list[int]
    only_model: list[int]
    only_native: list[int]

    @classmethod
    def of(cls, found: Sequence[Found]) -> "Comparison":
        """Returns the summary of the images of one side at one sigma."""
        model = np.array([[_reaches(one.model, radius) for radius in RADII] for one in found])
        native = np.array([[_reaches(one.native, radius) for radius in RADII] for one in found])
        return cls(
            side=found[0].side,
            sigma=found[0].sigma,
            native_sigma=found[0].native_sigma,
            images=len(found),
            model=model.sum(axis=0).tolist(),
            native=native.sum(axis=0).tolist(),
            only_model=(model & ~native).sum(axis=0).tolist(),
            only_native=(native & ~model).sum(axis=0).tolist(),
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--tuned", action="store_true", help="tune a prompt for each side and kind of noise")
    parser.add_argument("--images", type=int, default=96, help="rounded up to as many of each class")
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25, 0.5], help="of the model input")
    parser.add_argument("--sides", type=int, nargs="+", default=[SIDE, SIDE // 2], help=f"divisors of {SIDE}")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="each computes in one thread")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the result, not the table")


def run(arguments: argparse.Namespace) -> None:
    """Measure, then write and print the result."""
    machine = this_machine()
    todo = jobs(read_split(arguments.data, "test"), arguments)
    found = list(measured(todo, prompts(arguments), arguments.processes))
    comparisons = [
        Comparison.of([one for one in found if (one.side, one.sigma) == key])
        for key in product(arguments.sides, arguments.sigmas)
    ]
    document = {
        "backbone": BACKBONE,
        "prompt": "tuned" if arguments.tuned else shipped_tasks()[TASK].default_prompt,
        "n0": arguments.n0,
        "n": arguments.n,
        "alpha": SmoothingParams().alpha,
        "radii_grey_levels": RADII,
        "results": [asdict(comparison) for comparison in comparisons],
        "machine": asdict(machine),
    }
    table = as_markdown(comparisons)
    write_json(arguments.out, document)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(json.dumps(document, indent=2) if arguments.json else table)


def jobs(images: LabelledImages, arguments: argparse.Namespace) -> list[Job]:
    """The same images at every side and sigma."""
    chosen = equal_sample(images.labels, len(shipped_tasks()[TASK].class_names), arguments.images, arguments.seed)
    return [
        Job(
            pixels=smaller(images.pixels[index], side),
            label=int(images.labels[index]),
            sigma=sigma,
            n0=arguments.n0,
            n=arguments.n,
        )
        for index in chosen
        for side, sigma in product(arguments.sides, arguments.sigmas)
    ]


def prompts(arguments: argparse.Namespace) -> Texts:
    """The text features to use at each side under each kind of noise."""
    task, backbone = shipped_tasks()[TASK], default_encoder(torch.float32)
    uses = list(product(arguments.sides, SPACES))
    if task.default_prompt is None:
        raise ValueError(f"a default prompt of task {TASK} is required")
    if not arguments.tuned:
        context = learned_context(backbone, SHIPPED_PROMPTS, task.default_prompt)
        with torch.inference_mode():
            texts = text_features(backbone, task.class_names, context)
        return dict.fromkeys(uses, texts)
    train, params = read_split(arguments.data, "train"), recipe(task.default_prompt)
    labels = torch.from_numpy(train.labels)
    shots = sample_shots(labels, len(task.class_names), params.shots, params.seed)
    return {
        (side, space): tuned_text_features(
            backbone,
            np.stack([smaller(image, side) for image in train.pixels[shots.numpy()]]),
            labels[shots],
            task.class_names,
            space,
            params,
        )
        for side, space in tqdm(uses, unit="prompt")
    }


def recipe(prompt: str) -> FewShotParams:
    """Returns the tuning parameters of a shipped prompt."""
    tuning = read_prompt_card(prompt_path(SHIPPED_PROMPTS, prompt).with_suffix(".json")).tuning
    known = {field.name: tuning[field.name] for field in fields(FewShotParams) if field.name in tuning}
    changes = known.get("acquisition")
    ranges = None if changes is None else AcquisitionRanges.from_card(changes)
    return FewShotParams(**{**known, "sigmas": tuple(known["sigmas"]), "acquisition": ranges})


def measured(todo: Sequence[Job], texts: Texts, processes: int) -> Iterator[Found]:
    """Yields the result of each job in turn, with a progress bar."""
    numbers = {use: features.numpy() for use, features in texts.items()}  # tensors would travel as open files
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(numbers,)
    ) as pool:
        yield from tqdm(pool.map(_measure, todo), total=len(todo), unit="image")


def _start(numbers: Mapping[tuple[int, Space], np.ndarray[tuple[int, int], np.dtype[np.float32]]]) -> None:
    global _loaded  # what the initializer of a process pool is for
    torch.set_num_threads(1)
    texts = {use: torch.from_numpy(features) for use, features in numbers.items()}
    _loaded = default_encoder(torch.float32), texts


def _measure(job: Job) -> Found:
    return compare(job, *_loaded)


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """Certified accuracy in percent for both kinds of noise, and the gain in points with the images won and lost."""
    shown = [i for i, r in enumerate(RADII) if r == 0 or any(c.model[i] or c.native[i] for c in comparisons)]
    head = ["side", "noise in", "σ", *(f"R ≥ {RADII[i]}" if RADII[i] else "certified" for i in shown)]
    lines = [head, ["---"] * len(head)]
    for c in comparisons:
        for space, sigma, hits in zip(SPACES, (c.sigma, c.native_sigma), (c.model, c.native), strict=True):
            lines.append([str(c.side), space, f"{sigma:.4f}", *(f"{100 * hits[i] / c.images:.1f}" for i in shown)])
        gains = (
            f"{100 * (c.native[i] - c.model[i]) / c.images:+.1f} ({c.only_native[i]}:{c.only_model[i]})" for i in shown
        )
        lines.append([str(c.side), "gain (images won:lost)", "", *gains])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _reaches(radius: float | None, at_least: float) -> bool:
    return radius is not None and radius >= at_least
