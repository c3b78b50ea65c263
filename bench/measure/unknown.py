"""Measures how often images of no class are certified as one, with and without an adapter of the image encoder.

    python -m certrad.bench unknown --adapter models/demo/adapters/ID.safetensors --out unknown.json

The images are those of pydicom, of pydicom-data and of scikit-image's wheel: every file that decodes, each model input
once, without those that show a class of the task. These few are the near domain, and are measured beside: real files of
a known class from other sources. Both image towers see the same noisy samples.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import torch
from tqdm import tqdm

from certrad.bench.common.accuracy_report import label_counts
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK
from certrad.bench.common.noisy_images import SECRET
from certrad.bench.common.options import add_sampling, use_threads
from certrad.bench.common.two_towers import TwoTowers, adapter_settings, add_classifiers, the_adapter
from certrad.bench.common.unknown_images import UNKNOWN, Shown, unknown_images
from certrad.models.backbones.weights import write_json
from certrad.models.certificates.noise_key import noise_key
from certrad.models.images.input_digests import pool_sha256
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.smoothing import Noise, NoisySampler, decide
from certrad.models.types import Certificate, SmoothingParams

SHARES: Final = (0.0, 0.5, 0.9)
"""The radii of the table, in sigma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one method answered for one image at one sigma; class_index is None for an abstention."""

    file: str
    label: int
    sigma: float
    method: str
    class_index: int | None
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How often one method certified at one sigma.

    unknown: images of no class. as_known: those certified as a class, at each radius of SHARES.
    near: real images of a class from other sources. right, wrong: those certified as their class, or as another.
    """

    method: str
    sigma: float
    unknown: int
    as_known: tuple[int, ...]
    near: int
    right: int
    wrong: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument(
        "--adapter", type=Path, required=True, help="safetensors file of an adapter, its card beside it"
    )
    add_classifiers(parser)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--batch-size", type=int, default=50, help="a divisor of n0 and n")
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    add_sampling(parser)
    parser.set_defaults(n0=50, n=200)


def run(arguments: argparse.Namespace) -> None:
    """Measures, then writes and prints the result."""
    use_threads(arguments)
    machine, adapter = this_machine(), the_adapter(arguments)
    images = unknown_images(shipped_backbones()[adapter.card.backbone], shipped_tasks()[TASK])
    settings = adapter_settings(arguments, adapter, pool_sha256(torch.stack([image.pixels for image in images])))
    towers = TwoTowers(settings, adapter, arguments.backbones, arguments.prompts)
    found = [
        Found(file=image.file, label=image.label, sigma=sigma, method=method, class_index=index, radius=radius)
        for image in tqdm(images, unit="image")
        for sigma in arguments.sigmas
        for method, index, radius in outcomes(
            towers, image, SmoothingParams(sigma=sigma, n0=arguments.n0, n=arguments.n)
        )
    ]
    rows = summarise(found)
    document = {
        "settings": asdict(settings),
        "adapter": adapter.card.id,
        "alpha": SmoothingParams().alpha,
        "rows": [asdict(row) for row in rows],
        "found": [asdict(each) for each in found],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = as_markdown(rows)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def outcomes(towers: TwoTowers, image: Shown, params: SmoothingParams) -> Iterator[tuple[str, int | None, float]]:
    """Yields method, class and radius of an image; None and 0 for an abstention."""
    pixels = image.pixels.numpy()
    study = towers.study
    settings_sha256 = hashlib.sha256(f"{study.settings.sha256} {params.sigma}".encode()).hexdigest()
    key = noise_key(SECRET, hashlib.sha256(pixels.tobytes()).hexdigest(), settings_sha256)
    sampler = NoisySampler(
        image=pixels,
        sigma=params.sigma,
        noise=Noise(key),
        batch_size=study.settings.batch_size,
        device=study.frozen.device,
    )
    for method, counts in towers.methods(pixels, sampler).items():
        outcome = decide(label_counts(counts.selection), label_counts(counts.estimation), params)
        if isinstance(outcome, Certificate):
            yield method, outcome.class_index, outcome.radius
        else:
            yield method, None, 0.0


def summarise(found: Sequence[Found]) -> list[Row]:
    """Returns a row for each method at each sigma."""

    def place(each: Found) -> tuple[float, str]:
        return each.sigma, each.method

    return [_row(*key, list(of_row)) for key, of_row in groupby(sorted(found, key=place), key=place)]


def as_markdown(rows: Sequence[Row]) -> str:
    """Returns the rows as a table, in percent of the images of each kind."""
    radii = [f"unknown: R ≥ {share:g}σ" if share else "unknown: certified" for share in SHARES]
    lines = [["σ", "method", *radii, "near: right", "near: wrong"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        shares = [f"{100 * number / row.unknown:.1f}" for number in row.as_known]
        near = [f"{number} of {row.near}" for number in (row.right, row.wrong)]
        lines.append([f"{row.sigma:g}", row.method, *shares, *near])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _row(sigma: float, method: str, found: Sequence[Found]) -> Row:
    unknown = [each for each in found if each.label == UNKNOWN]
    near = [each for each in found if each.label != UNKNOWN]
    named = [each for each in near if each.class_index is not None]
    return Row(
        method=method,
        sigma=sigma,
        unknown=len(unknown),
        as_known=tuple(
            sum(each.class_index is not None and each.radius >= share * sigma for each in unknown) for share in SHARES
        ),
        near=len(near),
        right=sum(each.class_index == each.label for each in named),
        wrong=sum(each.class_index != each.label for each in named),
    )
