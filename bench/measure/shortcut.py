"""Measures what a classifier makes of the background level: class shares of noisy images against it.

    python -m certrad.bench shortcut --data mednist.zip --out shortcut.json
    python -m certrad.bench shortcut --data mednist.zip --prompts ID --folder prompts --out shortcut.json

Each image is shown as it is, and with its background at every level: black is moved to its background level, if it has
one, and what is darker than the new level is raised to it. The anatomy is the same in all of them. A classifier whose
answer follows the level has learned the background. The images are real DICOM files, and test images of MedNIST. A
prompt that was tuned on an adapted encoder is measured on it.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from certrad.bench.common.encoders import encoders
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.noisy_images import as_input
from certrad.bench.common.options import add_dtype, add_threads, use_threads
from certrad.bench.common.real_images import REAL_IMAGES
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.classifier import TextHead
from certrad.models.prompts.training.acquisition import background_level
from certrad.models.randomness import seeded
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing import labels
from certrad.models.types import TEMPLATE_PROMPT, BackboneCard, TaskCard
from certrad.models.types.pixels import WHITE

LEVELS: Final = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60)
_BATCH: Final = 50
_ONE_LEVEL: Final = 10 / WHITE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """An image as a model input (3, H, W). name: the file, or `MedNIST`. truth: the class that it shows."""

    name: str
    truth: str
    pixels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """How often the noisy copies of an image got each class.

    level: the background level in grey levels of 255; None for the image as it is. counts: of the classes in order, and
    last of `invalid`.
    """

    prompt: str
    sigma: float
    image: str
    truth: str
    level: int | None
    counts: tuple[int, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument(
        "--prompts", nargs="+", help="checkpoints, or template; default: template and the task's prompt and bank"
    )
    parser.add_argument("--folder", type=Path, default=SHIPPED_PROMPTS, help="folder of checkpoints beside the shipped")
    parser.add_argument("--images", type=int, default=24, help="test images of MedNIST, as many of each class")
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS, help="background levels, of 255")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--n", type=int, default=100, help="noisy copies; the same noise at every level")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures, then writes and prints the result."""
    use_threads(arguments)
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[task.default_backbone]
    dtype = chosen_dtype(arguments.dtype, torch.device("cpu"))
    backbone = load_backbone(card, weights_directory(card, Path("backbones")), dtype=dtype)
    images = [*real_images(card, task), *test_images(arguments, task)]
    defaults = (TEMPLATE_PROMPT, task.default_prompt, task.default_bank)
    prompts = arguments.prompts or [prompt for prompt in defaults if prompt]
    found: list[Votes] = []
    for encoder, heads in encoders(backbone, task, prompts, arguments.folder):
        for sigma in arguments.sigmas:
            noise = torch.randn((arguments.n, *images[0].pixels.shape), generator=seeded(arguments.seed, "shortcut"))
            for image in tqdm(images, unit="image", desc=f"sigma {sigma:g}"):
                found += votes(encoder, heads, image, arguments.levels, sigma, noise)
    document = {
        "class_names": task.class_names,
        "n": arguments.n,
        "seed": arguments.seed,
        "dtype": dtype_name(dtype),
        "data_sha256": file_sha256(arguments.data),
        "real_images": [asdict(image) for image in REAL_IMAGES],
        "votes": [asdict(each) for each in found],
        "machine": asdict(this_machine()),
    }
    write_json(arguments.out, document)
    table = as_markdown(found, task.class_names)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def real_images(card: BackboneCard, task: TaskCard) -> list[Shown]:
    """Returns the DICOM files that show a class of the task."""
    return [
        Shown(name=image.file, truth=image.truth, pixels=torch.from_numpy(image.seen(card, task).pixels.copy()))
        for image in REAL_IMAGES
    ]


def test_images(arguments: argparse.Namespace, task: TaskCard) -> list[Shown]:
    """Returns test images of MedNIST, one of each class in turn."""
    images, classes = read_split(arguments.data, "test"), task.class_names
    chosen = equal_sample(images.labels, len(classes), arguments.images, arguments.seed)
    return [
        Shown(
            name="MedNIST",
            truth=classes[images.labels[index]],
            pixels=torch.from_numpy(as_input(images.pixels[index])),
        )
        for index in chosen
    ]


@torch.inference_mode()
def votes(
    encoder: Backbone,
    heads: Mapping[str, TextHead],
    image: Shown,
    levels: Sequence[int],
    sigma: float,
    noise: Tensor,
) -> Iterator[Votes]:
    """Yields the votes on an image as it is and at every background level, by each head from one pass of noise.

    Args:
        encoder: The image encoder.
        heads: The head of every prompt.
        image: The image.
        levels: Background levels of 255.
        sigma: Standard deviation of the noise, in pixels of [0, 1].
        noise: (n, 3, H, W) of standard deviation 1.
    """
    for level in (None, *levels):
        pixels = image.pixels if level is None else with_background(image.pixels, level / WHITE)
        noisy = pixels + sigma * noise
        features = torch.cat([encoder.encode_image(part) for part in torch.split(noisy, _BATCH)])
        for prompt, head in heads.items():
            got = labels(head.classifier(encoder, sigma).logits_of_features(features))
            classes = head.text_features.shape[-2]
            counts = tuple(np.bincount(got, minlength=classes + 1).tolist())
            yield Votes(prompt=prompt, sigma=sigma, image=image.name, truth=image.truth, level=level, counts=counts)


def with_background(pixels: Tensor, level: float) -> Tensor:
    """Returns an image (3, H, W) whose background level is moved to `level`, in pixels of [0, 1].

    Black is moved to the level of the background first, as by another window, unless the image fills its frame and has
    none; then what is darker than the new level is raised to it.
    """
    if has_background(pixels):
        background = background_level(pixels[None])[0].clamp_max(1 - 1 / WHITE)
        pixels = (pixels - background) / (1 - background)
    return pixels.clamp_min(level)


def has_background(pixels: Tensor) -> bool:
    """Returns whether half of the outermost pixels of an image (3, H, W) are within 10 grey levels of 255."""
    edges = torch.cat([pixels[:, 0], pixels[:, -1], pixels[..., 0], pixels[..., -1]], dim=-1)
    low, high = edges.flatten().quantile(torch.tensor([0.25, 0.75])).tolist()
    return bool(high - low <= _ONE_LEVEL)


def as_markdown(found: Sequence[Votes], class_names: Sequence[str]) -> str:
    """Returns a table of each prompt and sigma: the share of the true class, and of the most frequent wrong one."""
    tables = []
    for (prompt, sigma), of_both in groupby(
        sorted(found, key=lambda each: (each.prompt, each.sigma)), lambda each: (each.prompt, each.sigma)
    ):
        rows: dict[tuple[str, str], dict[int | None, Counter[str]]] = {}
        for each in of_both:
            cell = rows.setdefault((each.image, each.truth), {}).setdefault(each.level, Counter())
            cell.update(dict(zip((*class_names, "invalid"), each.counts, strict=True)))
        levels = list(next(iter(rows.values())))
        head = ["image", "class", *("as it is" if level is None else str(level) for level in levels)]
        lines = [head, ["---"] * len(head)]
        lines += [
            [image, truth, *(_cell(cells[level], truth) for level in levels)] for (image, truth), cells in rows.items()
        ]
        table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        tables.append(f"`{prompt}`, sigma {sigma:g}, background level of 255:\n\n{table}\n")
    return "\n".join(tables)


def _cell(counts: Counter[str], truth: str) -> str:
    """Returns the share of the true class in percent, with the most frequent other class where it is 5% or more."""
    total = counts.total()
    other, votes_of_other = max(((name, n) for name, n in counts.items() if name != truth), key=lambda item: item[1])
    share = f"{100 * counts[truth] / total:.0f}"
    return f"{share} ({other} {100 * votes_of_other / total:.0f})" if votes_of_other >= total / 20 else share
